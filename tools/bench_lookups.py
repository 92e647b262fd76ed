"""What XNNPACK computes by one table: functions of one int8 value between two convolutions, timed side by side, in tables' times.

    OMP_NUM_THREADS=1 python tools/bench_lookups.py --out docs/benchmarks/lookups.md

The rule of ``edgelr/latency/litert_lookups.py`` was read off these; another version of LiteRT may have another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from bench_table import parser, publish, table
from torch import Tensor, nn
from torch.nn.functional import hardswish, leaky_relu

from edgelr.devices import Device
from edgelr.devices.attach import open_transport
from edgelr.export import tflite_bytes
from edgelr.graph import capture
from edgelr.latency.cut import cut_operators
from edgelr.quantization import quantize

SHAPE = (16, 80, 80)


def squared(y: Tensor) -> Tensor:
    return y * y


def gated(y: Tensor) -> Tensor:
    return y * torch.sigmoid(y)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda y: y,
    "sigmoid(x)": torch.sigmoid,
    "sigmoid(x) * 1.1 + 0.5": lambda y: torch.sigmoid(y) * 1.1 + 0.5,
    "x * sigmoid(x)": gated,
    "x + sigmoid(x)": lambda y: y + torch.sigmoid(y),
    "hard-swish": hardswish,
    "tanh(x * sigmoid(x))": lambda y: torch.tanh(gated(y)),
    "tanh(x)^2": lambda y: squared(torch.tanh(y)),
    "x^2": squared,
    "tanh(x^2)": lambda y: torch.tanh(squared(y)),
    "y * sigmoid(y), y = tanh(x)": lambda y: gated(torch.tanh(y)),
    "y * sigmoid(y), y = x * sigmoid(x)": lambda y: gated(gated(y)),
    "leaky_relu(x)": lambda y: leaky_relu(y, 0.1),
    "leaky_relu(x) * sigmoid(x)": lambda y: leaky_relu(y, 0.1) * torch.sigmoid(y),
}


class Between(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1), function

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.b(self.function(self.a(x)))
        return result


def file_of(function: Callable[[Tensor], Tensor]) -> bytes:
    torch.manual_seed(0)
    graph = capture(Between(function).eval(), SHAPE)
    return tflite_bytes(quantize(graph, dict.fromkeys(graph.shapes, (-4.0, 4.0))))


def main() -> None:
    chosen = parser(__doc__, "lookups").parse_args()
    start = time.perf_counter()
    files = {name: file_of(function) for name, function in FUNCTIONS.items()}
    with Device(open_transport("local")) as device:
        m = device.measure(files, runtime="litert", threads=1, rounds=3 if chosen.quick else 60, min_seconds=0.0 if chosen.quick else 2.0)
    us = {name: timing.median * 1e3 for name, timing in m.items()}
    one = us["sigmoid(x)"] - us["nothing"]
    rows = []
    for name, data in files.items():
        words = [c.operation.op for c in cut_operators(data, "tflite")][1:-1]
        rows.append((name, f"{us[name] - us['nothing']:.1f}", f"{(us[name] - us['nothing']) / one:.2f}", ", ".join(words) or "-"))
    publish(
        chosen.out, "Functions of one integer value in LiteRT", time.perf_counter() - start, chosen.quick,
        f"Measured: int8, {'x'.join(map(str, SHAPE))}, between two 1x1 convolutions, interleaved; microseconds beyond these, and "
        "as multiples of what sigmoid takes. The last column: the operations that edgelr prices (lut: one table).",
        table(("function", "us", "tables", "priced as"), rows),
    )  # fmt: skip


if __name__ == "__main__":
    main()
