"""ResNet-20 on CIFAR-10, dense int8: accuracy of both files, and how exactly they are the integer simulator.

    python tools/bench_exact.py --out docs/benchmarks/exact.md

Ranges come from training images; every number is of the test file, which nothing was chosen on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from bench_data import cifar10
from bench_table import Cells, need, parser, publish, table, tell
from nets import resnet20

from edgelr.data import Split
from edgelr.devices import open_session
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import run
from edgelr.graph.arithmetic import dequantize
from edgelr.pipeline.source import first, inspect
from edgelr.quantization import Quantized, calibrate, simulate_integers

BATCH = 100
METHODS = ("minmax", "percentile", "mse")
FILES = ("data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz", "models/resnet_cifar.py", "models/resnet20_cifar10.safetensors")


def batches(split: Split) -> Iterator[tuple[torch.Tensor, np.ndarray[Any, Any]]]:
    for i, (x, y) in enumerate(split.batches(BATCH)):
        if i % 20 == 0:
            tell(f"  {i * BATCH} of {len(split)} images")
        assert y is not None
        yield x, y.numpy()


def compared(q: Quantized, split: Split) -> dict[str, Any]:
    """Both files against the integer simulator on every image, and the accuracy of all three."""
    files = {"onnx": open_session(onnx_bytes(q), "onnx"), "tflite": open_session(tflite_bytes(q), "tflite")}
    right, same, equal, values, worst = (
        {"simulator": 0, "onnx": 0, "tflite": 0},
        dict.fromkeys(files, 0),
        dict.fromkeys(files, 0),
        0,
        dict.fromkeys(files, 0),
    )
    reals_equal = True
    for x, y in batches(split):
        integers = simulate_integers(q, x)
        reference = integers.numpy().astype(np.int64)
        right["simulator"] += int((reference.argmax(1) == y).sum())
        values += reference.size
        for format, session in files.items():
            got = session.run_int(x.numpy())
            got = got.astype(np.int64) - (128 if got.dtype == np.uint8 else 0)
            right[format] += int((got.argmax(1) == y).sum())
            same[format] += int((got.argmax(1) == reference.argmax(1)).sum())
            equal[format] += int((got == reference).sum())
            worst[format] = max(worst[format], int(np.abs(got - reference).max()))
        reals = dequantize(integers, q.grids[q.graph.output]).numpy()
        reals_equal &= np.array_equal(files["onnx"].run(x.numpy()).view(np.uint32), reals.view(np.uint32))
    n = len(split)
    result: dict[str, Any] = {"accuracy": {k: v / n for k, v in right.items()}, "n": n, "onnx_bits_equal": bool(reals_equal)}
    return result | {f: {"agreement": same[f] / n, "equal": equal[f] / values, "values": values, "max_lsb": worst[f]} for f in files}


def main() -> None:
    options = parser(__doc__, "exact")
    chosen = options.parse_args()
    need(chosen.shared, *FILES)
    start = time.perf_counter()
    count = {"calibration": 64, "test": 200} if chosen.quick else {"calibration": 512, "test": 10_000}
    data = cifar10(chosen.shared, count["calibration"], 1, count["test"])
    assert data.test and data.calibration
    source = inspect("resnet20", resnet20(chosen.shared).model, (3, 32, 32))
    cells = Cells(chosen.out, {**count, "torch": torch.__version__})
    calibration, test = data.calibration, data.test

    def float_accuracy() -> float:
        with torch.no_grad():
            return sum(int((run(source.graph, x).argmax(1).numpy() == y).sum()) for x, y in batches(test)) / len(test)

    base = cells.cell("float", float_accuracy)
    rows, exactness = [], []
    for method in METHODS:
        found = cells.cell(method, lambda method=method: compared(calibrate(source.graph, first(calibration, 512), method), test))
        accuracy = found["accuracy"]
        rows.append(
            (method, f"{base:.2%}", *(f"{accuracy[k]:.2%} ({100 * (accuracy[k] - base):+.2f})" for k in ("simulator", "tflite", "onnx")))
        )
        for format in ("onnx", "tflite"):
            f = found[format]
            bits = ("yes" if found["onnx_bits_equal"] else "**no**") if format == "onnx" else "not asked"
            exactness.append((method, f".{format}", f"{f['agreement']:.2%}", f"{f['equal']:.4%} of {f['values']:,}", f["max_lsb"], bits))
    within = all(abs(float(a) - base) <= 0.003 for m in METHODS for a in cells.done[m]["accuracy"].values())
    exact = all(cells.done[m]["onnx"]["equal"] == 1 and cells.done[m]["onnx_bits_equal"] for m in METHODS)
    agreeing = min(cells.done[m]["tflite"]["agreement"] for m in METHODS)
    publish(
        chosen.out,
        "ResNet-20 on CIFAR-10, dense int8",
        sum(cells.seconds.values()) or time.perf_counter() - start,
        chosen.quick,
        f"All numbers measured: each file run in its runtime here, on {len(test):,} test images of CIFAR-10 (JPEG copy); ranges from "
        f"{len(calibration)} training images. In brackets: points against float.",
        "## Test accuracy",
        table(("ranges", "float", "integer simulator", ".tflite", ".onnx"), rows),
        f"Within 0.3 points of float everywhere: **{'yes' if within else 'no'}**.",
        "## Against the integer simulator",
        table(("ranges", "file", "same class", "equal logits", "largest difference, steps", "real outputs equal bit for bit"), exactness),
        f".onnx equal to the simulator on all images: **{'yes' if exact else 'no'}**. "
        f".tflite decides the same on at least 99.5 %: **{'yes' if agreeing >= 0.995 else 'no'}** (least {agreeing:.2%}).",
    )
    cells.finish()


if __name__ == "__main__":
    main()
