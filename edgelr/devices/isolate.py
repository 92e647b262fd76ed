"""Files that aren't ours are opened in a child process: the runtimes don't check them, and a crafted file can crash its reader."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from edgelr import errors
from edgelr.errors import BadInputError, EdgelrError

# The child gets the parent's import path first: edgelr may run from a checkout.
_START = "import json, sys; job = json.load(sys.stdin); sys.path[:] = job['path']; from edgelr.devices.isolate import _child; _child(job)"


def run_isolated(
    function: Callable[..., Any], path: str | Path, *arguments: Any, seconds: float = 60.0, memory_bytes: int = 4 * 1024**3
) -> Any:
    """``function(path, *arguments)`` in a child process with a limit on time and memory (address space, where the system has one).

    ``function`` is defined at the top of a module; ``arguments`` and the result are plain JSON data, so that nothing that comes back
    from the child can run code. Raises ``BadInputError`` if the child dies (naming the signal), runs too long, takes too much memory,
    or raises; errors of edgelr come back as they are.
    """
    job = {
        "path": [str(Path(entry).absolute()) for entry in sys.path],
        "module": function.__module__,
        "function": function.__qualname__,
        "arguments": [str(path), *arguments],
        "memory_bytes": memory_bytes,
    }
    child = subprocess.Popen(  # noqa: S603 (our own interpreter, and nothing of the file is on its command line)
        [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        out, _ = child.communicate(json.dumps(job).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        raise BadInputError(f"Reading {path} was stopped.", f"it took longer than {seconds:g} s.") from None
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
    return _result(path, child.returncode, out)


def _result(path: str | Path, code: int, out: bytes) -> Any:
    if code < 0:
        names = {s.value: s.name for s in signal.Signals}
        why = f"the runtime that read it died of {names.get(-code, f'signal {-code}')}."
        raise BadInputError(f"{path} can't be used.", why, "the file is damaged or crafted: get it again from where it came.")
    try:
        answer = json.loads(out)
    except ValueError:
        raise BadInputError(f"{path} can't be used.", f"the process that read it ended with code {code} and no answer.") from None
    if "result" in answer:
        return answer["result"]
    kind = getattr(errors, answer["error"], None)
    if isinstance(kind, type) and issubclass(kind, EdgelrError):
        raise kind(answer["what"], answer["why"], answer["try"])
    raise BadInputError(f"{path} can't be used.", f"reading it failed: {answer['error']}: {answer['what']}")


def _child(job: dict[str, Any]) -> None:
    """Runs in the child: limits first, then the function. What it prints must not mix with the answer."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    _limit(job["memory_bytes"])
    answer: dict[str, Any]
    try:
        target: Any = import_module(job["module"])
        for name in job["function"].split("."):
            target = getattr(target, name)
        answer = {"result": target(*job["arguments"])}
        text = json.dumps(answer)
    except EdgelrError as error:
        text = json.dumps({"error": type(error).__name__, "what": error.what, "why": error.why, "try": error.try_})
    except Exception as error:
        text = json.dumps({"error": type(error).__name__, "what": str(error)[:500] or "no message"})
    with os.fdopen(answer_to, "wb") as stream:
        stream.write(text.encode())


def _limit(memory_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system: the time limit alone holds
        return
    for limit, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
