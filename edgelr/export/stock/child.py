"""Hands a network to a stock converter in a child process and takes the finished file back.

The converters pull in JAX, transformers and a compiler, print as they like and can crash; none of it reaches this process.
"""
from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgelr.errors import BadInputError, UnsupportedError, UsageError
from edgelr.graph import Shape

NEEDED = {"to_tflite": ("litert_torch", "litert_quantizer"), "to_onnx": ("onnxscript", "onnxruntime")}
WAIT_S = 900.0  # ten times what the slowest network here took
TELLING = 300  # characters of a converter's own message that are passed on


def stock_tflite(model: nn.Module, calibration: Iterable[Tensor], shape: Shape, wait_s: float = WAIT_S) -> bytes:
    """An int8 .tflite by litert-torch and litert-quantizer: int8 in and out, channels last, weights per channel, min-max ranges.

    ``calibration``: float32 batches [n, *shape]; ``shape`` without batch. Raises UsageError where the extra ``stock`` isn't
    installed, BadInputError where a batch doesn't fit, UnsupportedError where the converter gives up or takes over ``wait_s`` seconds.
    """
    return _converted("to_tflite", "litert-torch", model, calibration, shape, wait_s)


def stock_onnx(model: nn.Module, calibration: Iterable[Tensor], shape: Shape, wait_s: float = WAIT_S) -> bytes:
    """An int8 .onnx by torch.onnx and ONNX Runtime's static quantiser: QDQ, u8 activations, s8 weights per channel, min-max ranges.

    Float32 in and out, any batch. Arguments and errors as for ``stock_tflite``.
    """
    return _converted("to_onnx", "torch.onnx", model, calibration, shape, wait_s)


def _converted(job: str, converter: str, model: nn.Module, calibration: Iterable[Tensor], shape: Shape, wait_s: float) -> bytes:
    missing = [name for name in NEEDED[job] if find_spec(name) is None]
    if missing:
        raise UsageError(f"The stock converter {converter} isn't installed.", f"{' and '.join(missing)} can't be imported.",
                         "pip install 'edgelr[stock]'")
    with tempfile.TemporaryDirectory(prefix="edgelr-stock-") as place:  # readable by this user alone: what is loaded back is ours
        folder = Path(place)
        _write_samples(folder, calibration, shape)
        _write_program(folder, job, model, shape, converter)
        _run(job, converter, folder, wait_s)
        return (folder / "converted").read_bytes()


def _write_samples(folder: Path, calibration: Iterable[Tensor], shape: Shape) -> None:
    count = 0
    for count, batch in enumerate(calibration, 1):  # one file a batch: memory holds one of them
        if tuple(batch.shape[1:]) != tuple(shape):
            wanted = ", ".join(map(str, ("n", *shape)))
            raise BadInputError("A calibration batch doesn't fit the network.", f"it is {list(batch.shape)}, not [{wanted}].")
        np.save(folder / f"batch-{count:08}.npy", batch.detach().float().numpy())
    if not count:
        raise BadInputError("There is no calibration sample.", "the calibration data are empty.", "give data with at least one sample.")


def _write_program(folder: Path, job: str, model: nn.Module, shape: Shape, converter: str) -> None:
    fixed = job == "to_tflite"
    dynamic = None if fixed else ({0: torch.export.Dim("batch")},)
    try:
        program = torch.export.export(model.eval(), (torch.zeros(1 if fixed else 2, *shape),), dynamic_shapes=dynamic)
    except Exception as error:  # torch.export raises many kinds; each means the same to the user
        raise _refused(converter, str(error)) from error
    torch.export.save(program, folder / "program.pt2")


def _run(job: str, converter: str, folder: Path, wait_s: float) -> None:
    package = str(Path(__file__).resolve().parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])}
    child = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
        [sys.executable, "-P", "-m", f"edgelr.export.stock.{job}", str(folder)], cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        code = child.wait(wait_s)
    except subprocess.TimeoutExpired:
        raise _refused(converter, f"it was stopped after {wait_s:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError, AttributeError):  # it may have started others
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if code:
        told = folder / "error.json"
        died = signal.Signals(-code).name if code < 0 else f"code {code}"
        raise _refused(converter, json.loads(told.read_text("utf-8"))["why"] if told.exists() else f"its process ended with {died}")


def _refused(converter: str, why: str) -> UnsupportedError:
    first = next((line.strip() for line in why.splitlines() if line.strip()), "it doesn't say why")
    return UnsupportedError(f"The stock converter {converter} can't convert this network.", first[:TELLING],
                            "export without --via stock, or change the model there.")
