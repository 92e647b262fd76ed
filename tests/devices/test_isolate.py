"""A file that isn't ours can kill its reader, hang it or fill its memory: the parent lives and says what happened."""
from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import pytest

from edgelr.devices import open_session, run_isolated
from edgelr.errors import BadInputError, UnsupportedError


def size(path: str, times: int = 1) -> dict[str, int]:
    print("what a runtime prints must not mix with the answer")  # noqa: T201
    return {"bytes": Path(path).stat().st_size * times, "pid": os.getpid()}


def segfault(path: str) -> None:
    ctypes.string_at(0)


def hang(path: str) -> None:
    time.sleep(60)


def gorge(path: str) -> int:
    return len(bytearray(8 * 1024**3))


def refuse(path: str) -> None:
    raise UnsupportedError("It has an odd operation.", "odd", "leave it out")


def fault(path: str) -> float:
    return 1 / 0


def leave(path: str) -> None:
    os._exit(3)


def outputs(path: str) -> list[float]:
    import numpy as np

    data = Path(path).read_bytes()
    y: list[float] = open_session(data, "onnx").run(np.ones((1, 3, 8, 8), np.float32))[0].tolist()
    return y


def test_the_result_comes_back_from_another_process(tmp_path: Path) -> None:
    file = tmp_path / "a file; with 'odd' $(name)"
    file.write_bytes(b"12345")
    answer = run_isolated(size, file, 3)
    assert answer["bytes"] == 15 and answer["pid"] != os.getpid()


def test_a_network_runs_in_the_child_as_here(tmp_path: Path, onnx_bytes: bytes) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(onnx_bytes)
    assert run_isolated(outputs, file) == outputs(str(file))


@pytest.mark.parametrize(
    ("function", "told"),
    [(segfault, "SIGSEGV"), (gorge, "MemoryError"), (fault, "ZeroDivisionError: division by zero"), (leave, "ended with code 3")],
)
def test_a_child_that_dies_is_bad_input_with_the_reason(function: object, told: str) -> None:
    with pytest.raises(BadInputError) as error:
        run_isolated(function, "file.tflite", memory_bytes=2 * 1024**3)  # type: ignore[arg-type]
    assert told in str(error.value) and "file.tflite" in str(error.value) and error.value.exit_code == 3


def test_a_child_that_takes_too_long_is_stopped() -> None:
    start = time.perf_counter()
    with pytest.raises(BadInputError, match="stopped"):
        run_isolated(hang, "file.onnx", seconds=1)
    assert time.perf_counter() - start < 10


def test_our_own_errors_come_back_as_they_are() -> None:
    with pytest.raises(UnsupportedError) as error:
        run_isolated(refuse, "file.onnx")
    assert (error.value.what, error.value.why, error.value.try_) == ("It has an odd operation.", "odd", "leave it out")
