"""Transformers in every number form: bytes, milliseconds and SQNR against the float network, in both runtimes.

    OMP_NUM_THREADS=1 python tools/bench_attention.py --out docs/benchmarks/attention.md

The second table of a network puts one kind of operation of the mixed form on integers at a time: why those kinds stay in float.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from attention_nets import Encoder, Vit
from bench_table import Cells, parser, publish, table
from torch import Tensor, nn

from edgelr.devices import describe_host, measure, open_session
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import Graph, capture
from edgelr.graph.ops import Add, Gelu, MatMul, Op, Softmax
from edgelr.pipeline.precision import POLICIES, Form, Precision
from edgelr.quantization import Quantized, observe, quantize
from edgelr.vocabulary import Kept

CALIBRATION, HELD_OUT = 16, 16
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "encoder-64": (lambda: Encoder(64), (64, 64)),
    "encoder-128": (lambda: Encoder(128), (64, 128)),
    "encoder-192": (lambda: Encoder(192), (64, 192)),
    "vit-tiny-4": (lambda: Vit(4), (3, 224, 224)),
    "vit-tiny": (Vit, (3, 224, 224)),
}
KINDS: tuple[type[Op], ...] = (MatMul, Softmax, Gelu, Add)
Ranges = Mapping[str, tuple[float, float]]


def forms(graph: Graph, ranges: Ranges) -> Iterator[tuple[str, str, Quantized]]:
    """Form, format and graph of every file."""
    for policy in POLICIES:
        precision = Precision({"tflite": Form(policy), "onnx": Form(policy)})
        for format, q in precision.quantized(graph, ranges, ("tflite", "onnx")).items():
            yield policy, format, q


def kinds(graph: Graph, ranges: Ranges) -> Iterator[tuple[str, str, Quantized]]:
    """The mixed form, and it with one kind of operation on integers."""
    for format in ("tflite", "onnx"):
        mixed = Precision({format: Form("mixed")}).kept(graph, format)
        for kind in (None, *KINDS):
            kept: dict[str, Kept] = {n.name: mixed[n.name] for n in graph.nodes if n.name in mixed and type(n.op) is not kind}
            yield f"+ {kind.__name__}" if kind else "mixed", format, quantize(graph, ranges, kept)


def rows(name: str, make: Callable[[Graph, Ranges], Iterator[tuple[str, str, Quantized]]], quick: bool) -> list[list[Any]]:
    """Form, then for each runtime bytes, milliseconds and SQNR in dB; all files measured together."""
    torch.manual_seed(0)
    build, shape = NETS[name]
    model, x = build().eval(), torch.randn(CALIBRATION + HELD_OUT, *shape)
    graph = capture(model, shape)
    files = {(form, format): (tflite_bytes if format == "tflite" else onnx_bytes)(q)
             for form, format, q in make(graph, observe(graph, x[:CALIBRATION].split(4)))}
    sessions = {f"{form} {format}": open_session(data, format, channels_last=len(shape) == 3)  # type: ignore[arg-type]
                for (form, format), data in files.items()}
    timings = measure(sessions, on=describe_host()["cpu"], rounds=3 if quick else 15, min_seconds=0.1 if quick else 2.0, strict=False)
    held_out = x[CALIBRATION:]
    with torch.no_grad():
        want = torch.cat([model(v) for v in held_out.split(4)]).numpy()
    found = []
    for form in dict.fromkeys(form for form, _ in files):
        row: list[Any] = [form]
        for format in ("tflite", "onnx"):
            key = f"{form} {format}"
            row += [f"{len(files[form, format]):,}", f"{timings[key].median:.3f}", f"{_sqnr_db(want, sessions[key].run, held_out):.1f}"]
        found.append(row)
    for session in sessions.values():
        session.close()
    return found


def _sqnr_db(want: np.ndarray, run: Callable[[Any], Any], x: Tensor) -> float:
    error = want - run(x.numpy())
    return 10 * float(np.log10(np.square(want).sum() / np.square(error).sum()))


def main() -> None:
    arguments = parser(__doc__, "attention")
    arguments.add_argument("--nets", default=",".join(NETS))
    given = arguments.parse_args()
    torch.set_num_threads(1)
    start, cells, parts = time.perf_counter(), Cells(given.out, {"quick": given.quick}), []
    head = ["form", *(f"{runtime} {what}" for runtime in ("LiteRT", "ONNX Runtime") for what in ("bytes", "ms", "SQNR, dB"))]
    for name in given.nets.split(","):
        parts.append(f"## {name}\n\n" + table(head, cells.cell(name, lambda n=name: rows(n, forms, given.quick))))
        parts.append(table(head, cells.cell(f"{name}, kinds", lambda n=name: rows(n, kinds, given.quick))))
    publish(given.out, "Attention: every number form", time.perf_counter() - start, given.quick, *parts)
    cells.finish()


if __name__ == "__main__":
    main()
