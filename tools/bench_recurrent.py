"""LSTM on HAPT and GRU on FSDD (unseen speakers), dense and factorised: accuracy, bytes and milliseconds of every form in both runtimes.

    python tools/bench_recurrent.py --cache FOLDER --out docs/benchmarks/recurrent.md

Networks are trained first (recurrent_nets.py), factorised by truncated SVD and trained further, and kept in the cache. "step" is one
step of the sequence, its states in and out. A form's accuracy is that of its file in its runtime, on ``SAMPLES`` test samples in random
order; "step" computes what the float loop computes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_table import Cells, need, parser, publish, table, tell
from recurrent_nets import EPOCHS, GRU_EPOCHS, Task, fsdd, hapt, trained
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from edgelr.devices import describe_host, measure, open_session
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import Graph, capture, run
from edgelr.graph.ops import Linear
from edgelr.graph.ops.recurrent import GateMatrix, Recurrent
from edgelr.graph.recurrent import in_form, layers, linear_before, trimmed
from edgelr.graph.step import step_network
from edgelr.quantization import Quantized
from edgelr.quantization.calibrate import quantize
from edgelr.vocabulary import Kept

SAMPLES = 1000
SHARE = 0.25
TASKS = {"lstm": (hapt, "data/hapt_windows.npz"), "gru": (fsdd, "data/fsdd.npz")}


def dense(task: Task, hidden: int, cache: Path, untrained: bool) -> Graph:
    """The trained network's graph; with random weights where it is ``untrained``."""
    assert task.data.test is not None
    net = task.net(hidden).eval() if untrained else trained(task, hidden, cache)
    return trimmed(capture(net, tuple(task.data.test.x[:1].shape[1:])))


def factorised(graph: Graph, task: Task, hidden: int, cache: Path, untrained: bool) -> Graph:
    """Every gate matrix at ``SHARE`` of its parameters, where that is a rank of 4 or more, trained for half the dense network's epochs."""
    made = graph.with_ops({n: replace(op, ih=_truncated(op.ih), hh=_truncated(op.hh)) for n, op in layers(graph).items()})
    if untrained:
        return made
    weights = {f"{n}.{i}": part for n, op in layers(made).items() for i, part in enumerate((*op.ih.parts(), *op.hh.parts()))}
    file = cache / f"{task.kind}-{hidden}-{SHARE}.safetensors"
    if file.is_file():
        for name, held in load_file(file).items():
            weights[name].copy_(held)
        return made
    _train(made, list(weights.values()), task, max(1, EPOCHS.get((task.kind, hidden), GRU_EPOCHS) // 2))
    save_file({n: w.contiguous() for n, w in weights.items()}, file)
    return made


def _truncated(matrix: GateMatrix) -> GateMatrix:
    whole = matrix.dense().detach()
    rows, columns = whole.shape
    rank = int(SHARE * rows * columns / (rows + columns)) // 4 * 4
    if rank < 4:
        return GateMatrix((whole.clone(),))
    u, s, v = torch.linalg.svd(whole, full_matrices=False)
    root = s[:rank].sqrt()
    return GateMatrix(((u[:, :rank] * root).contiguous(),), (root[:, None] * v[:rank]).contiguous())


def _train(graph: Graph, weights: list[torch.Tensor], task: Task, epochs: int) -> None:
    train = task.data.train
    assert train is not None and train.y is not None
    x, y = torch.from_numpy(np.array(train.x[:])), torch.from_numpy(train.y)
    for weight in weights:
        weight.requires_grad_()
    optimiser = torch.optim.Adam(weights, 1e-3)
    for epoch in range(epochs):
        for part in torch.randperm(len(x))[: len(x) // 64 * 64].split(64):
            loss = F.cross_entropy(run(graph, x[part] + 0.1 * torch.randn_like(x[part])), y[part])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
        tell(f"  factorised, epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}")
    for weight in weights:
        weight.requires_grad_(False)


def forms(graph: Graph, low_rank: bool) -> Iterator[tuple[str, Graph]]:
    """Every form of a network by name."""
    yield "fused", in_form(graph, "fused")
    if low_rank and linear_before(graph).nodes != graph.nodes:
        yield "linear + fused", in_form(linear_before(graph), "fused")
    yield "loop", in_form(graph, "loop")
    yield "step", step_network(graph)


def kept(graph: Graph, dynamic: bool) -> Quantized:
    """Everything in float, or what has weights in dynamic int8."""
    why = {n.name: Kept("dynamic" if dynamic and isinstance(n.op, Linear | Recurrent) else "float", "choice", "a benchmark's row")
           for n in graph.nodes}
    return quantize(graph, dict.fromkeys(graph.shapes, (0.0, 0.0)), why)


def rows(task: Task, graph: Graph, low_rank: bool, samples: int, on: str) -> list[list[Any]]:
    """Form, numbers, runtime, bytes, ms and accuracy in percent of every file, measured together."""
    files: dict[tuple[str, str, str], bytes] = {}
    for form, made in forms(graph, low_rank):
        for numbers in ("float", "dynamic"):
            q = kept(made, numbers == "dynamic")
            files[form, numbers, "LiteRT"], files[form, numbers, "ONNX Runtime"] = tflite_bytes(q), onnx_bytes(q)
    sessions = {str(key): open_session(data, "tflite" if key[2] == "LiteRT" else "onnx", channels_last=False)
                for key, data in files.items()}
    timings = measure(sessions, on=on, rounds=20, min_seconds=1.0, strict=False)
    test = task.data.test
    assert test is not None and test.y is not None
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:samples])
    x, y = np.asarray(test.x[chosen]), test.y[chosen]
    found = []
    for key, data in files.items():
        accuracy = ""
        if key[0] != "step" and samples:
            accuracy = f"{100 * float((sessions[str(key)].run(x).argmax(1) == y).mean()):.1f}"
        found.append([*key, len(data), f"{timings[str(key)].median:.3f}", accuracy])
    for session in sessions.values():
        session.close()
    return found


def main() -> None:
    arguments = parser(__doc__, "recurrent")
    arguments.add_argument("--cache", type=Path, required=True, help="folder outside the checkout for trained networks")
    arguments.add_argument("--nets", default="lstm,gru")
    arguments.add_argument("--hidden", default="64,128,256,512")
    arguments.add_argument("--untrained", default="lstm-512", help="networks measured with random weights, without accuracy: lstm-512,…")
    given = arguments.parse_args()
    need(given.shared, *(TASKS[n][1] for n in given.nets.split(",")))
    torch.set_num_threads(1)
    start, samples = time.perf_counter(), 50 if given.quick else SAMPLES
    cells = Cells(given.out, {"samples": samples, "share": SHARE})
    parts = []
    for net in given.nets.split(","):
        task = TASKS[net][0]()
        for hidden in map(int, given.hidden.split(",")):
            untrained = f"{net}-{hidden}" in given.untrained.split(",")
            graph = dense(task, hidden, given.cache, untrained)
            for low_rank in (False, True):
                name = f"{task.kind.upper()}-{hidden}x2, {task.name}, {'25 % of its gate parameters' if low_rank else 'dense'}"
                made = factorised(graph, task, hidden, given.cache, untrained) if low_rank else graph
                name += ", random weights" if untrained else ""
                count = 0 if untrained else samples
                found = cells.cell(name, lambda m=made, r=low_rank, t=task, n=count: rows(t, m, r, n, describe_host()["cpu"]))
                ranks = sorted({m.right.shape[0] for op in layers(made).values() for m in (op.ih, op.hh) if m.right is not None})
                parts.append(f"## {name}{f', ranks {ranks}' if ranks else ''}\n\n"
                             + table(["form", "numbers", "runtime", "bytes", "ms", "accuracy, %"], found))
    publish(given.out, "Recurrent networks: every form", time.perf_counter() - start, given.quick, *parts)
    cells.finish()


if __name__ == "__main__":
    main()
