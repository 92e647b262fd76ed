"""Find a function that the user names: ``FILE.py:FUNCTION`` or ``package.module:function``. Naming it runs its code: it is theirs."""
from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from edgelr.errors import BadInputError, EdgelrError, UsageError


def call_named(spec: str) -> Any:
    """Import and call the function that ``spec`` names, without arguments.

    A file is imported under a private name of its own, with its folder on ``sys.path`` while it is imported and called.
    Raises UsageError (not of the form, no such function, needs arguments), BadInputError (no such file, its code fails).
    """
    with _found(spec) as function:
        return _call(function, spec)


def named_function(spec: str) -> Callable[..., Any]:
    """Import the function that ``spec`` names, without calling it. Raises as ``call_named``."""
    with _found(spec) as function:
        return function


@contextmanager
def _found(spec: str) -> Iterator[Callable[..., Any]]:
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        raise UsageError(f"can't read {spec!r} as a function", "the form is FILE.py:FUNCTION or package.module:function",
                         "name the function after a colon, as in net.py:resnet20")
    if not place.endswith(".py"):
        yield _function(_import_module(place, spec), name, spec)
        return
    path = Path(place)
    if not path.is_file():
        raise BadInputError(f"no file {place}", f"it was named by {spec!r}", "check the path; it is read from the current folder")
    with _on_path(path.resolve().parent):
        yield _function(_import_file(path.resolve(), spec), name, spec)


def _import_module(name: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        hint = f"install the package that has {missing}" if name.startswith(missing) else f"{name} itself needs it: install {missing}"
        raise BadInputError(f"no module {missing}", f"it was needed by {spec!r}", f"{hint}, or name a file as FILE.py:FUNCTION") from error
    except Exception as error:
        raise _failed("importing", spec, error) from error


def _import_file(path: Path, spec: str) -> ModuleType:
    private = f"_edgelr_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    found = importlib.util.spec_from_file_location(private, path)
    if found is None or found.loader is None:
        raise BadInputError(f"{path.name} can't be imported", "Python finds no loader for it", "give a plain .py file")
    module = importlib.util.module_from_spec(found)
    sys.modules[private] = module  # dataclasses and torch look a class's module up here
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[private]
        raise _failed("importing", spec, error) from error
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def _function(module: ModuleType, name: str, spec: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]  # any callable will do; its result is checked by the caller
    callables = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
    near = difflib.get_close_matches(name, callables, 1)
    own = [n for n in callables if getattr(vars(module)[n], "__module__", None) == module.__name__]
    why = f"{name} is a value there, not a function" if found is not None else f"it has {', '.join(own[:8]) or 'none'}"
    raise UsageError(f"no function {name} in {spec.rpartition(':')[0]}", why,
                     f"did you mean {near[0]}?" if near else "name one that it has")


def _call(function: Callable[..., Any], spec: str) -> Any:
    try:
        needed = [p.name for p in inspect.signature(function).parameters.values()
                  if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    except (TypeError, ValueError):  # some built-in callables tell no signature
        needed = []
    if needed:
        raise UsageError(f"{spec} needs arguments: {', '.join(needed)}", "it is called without any",
                         "write a function without arguments that calls it, and name that one")
    try:
        return function()
    except EdgelrError:
        raise
    except Exception as error:
        raise _failed("calling", spec, error) from error


def _failed(doing: str, spec: str, error: Exception) -> BadInputError:
    first = next((line for line in str(error).splitlines() if line.strip()), "no message")
    inner = error.__traceback__
    while inner is not None and inner.tb_next is not None:
        inner = inner.tb_next
    at = f" ({Path(inner.tb_frame.f_code.co_filename).name}, line {inner.tb_lineno})" if inner is not None else ""
    if isinstance(error, SyntaxError) and error.lineno:
        at = f" ({Path(error.filename or '').name}, line {error.lineno})"
    return BadInputError(f"{doing} {spec} failed", f"{type(error).__name__}: {first[:300]}{at}", "run it alone in Python and mend it")
