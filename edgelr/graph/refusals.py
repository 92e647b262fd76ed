"""Why torch.export can't capture a network, in the user's terms: which module, which line, what to try."""
from __future__ import annotations

import linecache
import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import Tensor, nn

from edgelr.errors import UnsupportedError
from edgelr.graph.behaviour import watch

MOST_TRIES = 200  # exports of parts: a search for the failing one ends
SEPARATOR = re.compile(r"[/\\]")  # of folders, on any system
TORCH = torch.__file__.removesuffix("__init__.py")
DATA_DEPENDENT = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "DynamicOutputShapeException")
WHAT = "the network can't be captured as a graph"


class Kept:
    """A text stream that remembers."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


@contextmanager
def quiet_export() -> Iterator[Kept]:
    """Within: what torch.export logs, warns of and prints is kept, not shown. It dumps graphs on stderr where it fails."""
    kept = Kept()

    def hold(record: logging.LogRecord) -> bool:
        kept.write(record.getMessage() + "\n")
        return False

    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.split(".")[0] == "torch"]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    for handler in handlers:
        handler.addFilter(hold)
    try:
        with redirect_stderr(kept), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield kept
    finally:
        for handler in handlers:
            handler.removeFilter(hold)


def refusal(model: nn.Module, example: Tensor, error: Exception, printed: str) -> UnsupportedError:
    """The error to raise for what torch.export raised; its ``detail`` holds all that torch said.

    ``example`` should be no constant: what is multiplied by zeros doesn't show.
    """
    detail = printed + "".join(traceback.format_exception(error))
    shape = "x".join(map(str, example.shape))
    try:
        watch(model, example)
    except UnsupportedError as own:
        return UnsupportedError(f"{WHAT}: {own.what}", own.why, own.try_, detail=detail)
    except Exception as failed:
        where, line = located(model, failed)
        return UnsupportedError(f"{WHAT}: it fails on an input of shape {shape}", f"in {where}: {first_line(failed)}{_behind(line)}",
                                "check the input shape, batch first, as in --input 1x3x224x224", detail=detail)
    where, line = located(model, error)
    if any(type(e).__name__ in DATA_DEPENDENT for e in _chain(error)):
        return UnsupportedError(f"{WHAT}: {where} decides by the values of a tensor",
                                f"data-dependent Python (if, for, int(), .item()), which no file can hold{_behind(line)}",
                                "write it with tensors (torch.where, a mask, a fixed count), or leave it out of forward()", detail=detail)
    if not line:
        where = _smallest(model, example, error)
    return UnsupportedError(f"{WHAT}: torch.export fails in {where}", f"{first_line(error)}{_behind(line)}",
                            "write that module with torch operations alone, without changing its own attributes", detail=detail)


def first_line(error: BaseException) -> str:
    """Class and first line of a message, short."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {line[:200]}"


def located(model: nn.Module, error: BaseException) -> tuple[str, str]:
    """The innermost module that was running when ``error`` was raised, and the last line of the user's own code in it ("" if none)."""
    names = {id(module): name for name, module in model.named_modules()}
    where, line = label("", model), ""
    for raised in _chain(error):
        for frame, number in traceback.walk_tb(raised.__traceback__):
            owner, file = frame.f_locals.get("self"), frame.f_code.co_filename
            if isinstance(owner, nn.Module) and id(owner) in names:
                where, line = label(names[id(owner)], owner), ""
            if not file.startswith((TORCH, "<")) and "edgelr" not in frame.f_globals.get("__name__", "").split("."):
                line = at(file, number)
        if line:
            break
    return where, line


def label(path: str, module: nn.Module) -> str:
    """body.1 (Gate)."""
    return f"{path or 'the network'} ({type(module).__name__})"


def at(file: str, number: int) -> str:
    """net.py, line 12: `if y.sum() > 0:`."""
    code = linecache.getline(file, number).strip()
    return f"{SEPARATOR.split(file)[-1]}, line {number}{f': {code[:100]}' if code else ''}"


def _behind(line: str) -> str:
    return f", at {line}" if line else ""


def line_of(stack_trace: str | None) -> str:
    """The same for the innermost line of the user's code in the stack that torch.export notes for a node; "" where there is none."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', stack_trace or "")
    return next((at(file, int(number)) for file, number in reversed(frames) if not file.startswith((TORCH, "<"))), "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _smallest(model: nn.Module, example: Tensor, error: Exception) -> str:
    """The smallest part that torch.export refuses in the same way, on the inputs that it gets."""
    calls: dict[int, tuple[Any, Any]] = {}

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        calls.setdefault(id(module), (args, kwargs))

    handles = [module.register_forward_pre_hook(before, with_kwargs=True) for module in model.modules()]
    try:
        with torch.no_grad():
            model(example.clone())
    finally:
        for handle in handles:
            handle.remove()
    path, found, tries = "", model, 0
    queue = list(model.named_children())
    while queue and tries < MOST_TRIES:
        name, part = queue.pop(0)
        if id(part) not in calls:  # a list of modules: its own call is none, but theirs are
            queue[:0] = [(f"{name}.{n}", m) for n, m in part.named_children()]
            continue
        tries += 1
        if _refused(part, *calls[id(part)], type(error)):
            path, found = name, part
            queue = [(f"{name}.{n}", m) for n, m in part.named_children()]
    return label(path, found)


def _refused(part: nn.Module, args: Any, kwargs: Any, kind: type[Exception]) -> bool:
    try:
        with quiet_export():
            torch.export.export(part, args, kwargs)
    except Exception as error:
        return isinstance(error, kind)
    return False
