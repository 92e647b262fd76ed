"""Rank-Tuning on recurrent networks: compression factor against loss, with and without the training adaptations.

    python tools/bench_rank_tuning.py --cache FOLDER --out docs/benchmarks/rank-tuning.md

Each network is trained over equal epochs plainly, and with the adaptations (a nuclear norm that grows, projections on the way). The ranks
of its gate matrices are then chosen on held-out users or speakers, never on the test's, so that the plan loses no more of what the
plainly trained network of the same seed scores there. Two ways of truncating: by plain SVD, as in the paper, and aware of what the matrix
reads, as edgelr does. Networks are kept in the cache; the page is written anew after every network, and an interrupted run is taken up
by the same command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from bench_recurrent import kept
from bench_table import Cells, need, parser, publish, tell
from rank_tuning_nets import NETS, TRAININGS, TUNE_RATE, Net, data_of, facts, fit, trained
from rank_tuning_page import page
from recurrent_nets import accuracy
from safetensors.torch import load_file, save_file
from torch import nn

from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.factorize import break_even_rank, rebuild, skeleton
from edgelr.graph import Graph
from edgelr.graph.recurrent import in_form
from edgelr.pipeline import candidates
from edgelr.pipeline.files import planned
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.source import BATCH, Source, gathered, inspect
from edgelr.ranks import Scorer, rank_tuning
from edgelr.training import PLAIN
from edgelr.vocabulary import DENSE, Choice, Layer, Plan

LOSSES = (0.0, 0.7, 1.4, 3.0, 5.0, 10.0)  # % of the plainly trained network's held-out accuracy
FINE_TUNED = (1.4, 5.0, 10.0)
HEADLINE = 1.4
WAYS = {"plain SVD": False, "aware of inputs": True}
ROUNDS = (  # network, seed, and whether the factors are trained further too: what shows most comes first
    ("lstm64", 0, "factors"), ("gru128", 0, "factors"), ("lstm64", 1, "factors"), ("gru128", 1, "factors"), ("lstm128", 0, "factors"),
    ("bigru150", 0, "factors"),
)


def scanned(full: int) -> Iterable[int]:
    """Ranks that are scored: each one up to 16, then every second, from 32 on every fourth."""
    return [r for r in range(1, full + 1) if r <= 16 or (r <= 32 and r % 2 == 0) or r % 4 == 0]


@dataclass(frozen=True)
class Remembered:
    """A scorer that asks another one for each plan once: the searches at several losses scan the same ranks."""

    scorer: Scorer
    scores: dict[Plan, float] = field(default_factory=dict)

    def score(self, plan: Plan) -> float:
        if plan not in self.scores:
            self.scores[plan] = self.scorer.score(plan)
        return self.scores[plan]

    def score_moves(self, parent: Plan, moves: Sequence[tuple[str, Choice]]) -> list[float]:
        fresh = [m for m in moves if parent.replace(*m) not in self.scores]
        if fresh:
            self.scores.update(zip([parent.replace(*m) for m in fresh], self.scorer.score_moves(parent, fresh), strict=True))
        return [self.scores[parent.replace(*m)] for m in moves]


def gate_params(layers: Sequence[Layer], plan: Plan) -> int:
    """Weights of the gate matrices under a plan, biases left out."""
    total = 0
    for layer in layers:
        m, n = layer.weight_shape
        rank = plan[layer.name].rank
        total += m * n if rank is None else rank * (m + n)
    return total


def bytes_of(graph: Graph, low_rank: bool) -> dict[str, int]:
    """Bytes of both files with int8 weights (dynamic); only a loop over the steps keeps factors apart."""
    q = kept(in_form(graph, "loop" if low_rank else "fused"), True)
    return {"tflite": len(tflite_bytes(q)), "onnx": len(onnx_bytes(q))}


def tuned(net: Net, model: nn.Module, reference: Mapping[str, float], aware: bool, keep: Path) -> list[dict[str, Any]]:
    """A row for each tolerated loss: ranks, parameters, bytes, and accuracies on held-out and on test samples.

    ``keep`` is where the factors of each plan are put, to be trained further: its name is followed by the ranks.
    """
    data = data_of(net.task)
    assert data.validation is not None and data.test is not None and data.calibration is not None
    source = inspect(net.name, model, data.validation.sample_shape)
    layers = gates(source)
    factors = candidates.Factors(source, aware)
    samples = list(data.calibration.take(_spread(len(data.calibration), 256)).batches(BATCH))
    factors.prepare(layers, ("recurrent",), lambda: [x for x, _ in samples])
    options = {w.name: tuple(Choice("recurrent", r) for r in scanned(break_even_rank(w, "recurrent", "params"))) for w in layers}
    rows = candidates.table(layers, options, lambda name, choice: {}, factors.error)
    x, y = gathered(data.validation, len(data.validation))
    scorer = Remembered(GraphScorer(source.graph, x, y, factors.product, divergence_weight=0.0))
    found: list[dict[str, Any]] = []
    made: dict[Plan, dict[str, Any]] = {}
    for loss in LOSSES:
        begun = time.perf_counter()
        result = rank_tuning(rows, {}, {}, scorer, floor=reference["validation"] * (1 - loss / 100))
        took, ranks = time.perf_counter() - begun, [result.plan[w.name].rank for w in layers]
        if result.plan not in made:
            small = rebuild(source.folded, result.plan, factors.decompositions).eval()
            save_file({k: v.contiguous() for k, v in small.state_dict().items()}, _with_ranks(keep, ranks))
            made[result.plan] = {"validation": result.score, "test": accuracy(small, data.test),
                                 **bytes_of(planned(source.graph, result.plan, factors), bool(result.plan.factorised()))}
        params, dense = gate_params(layers, result.plan), gate_params(layers, Plan())
        found.append({"loss": loss, "ranks": ranks, "factor": dense / params, "alone": [result.alone[w.name].rank for w in layers],
                      "alone_validation": scorer.score(result.alone), "whole": source.params / (source.params - dense + params),
                      "evaluations": result.evaluations, "seconds": took, **made[result.plan]})
        tell(f"  {loss:g} %: {dense / params:.1f}x, held out {result.score:.4f}, test {found[-1]['test']:.4f}, ranks {ranks}")
    return found


def trained_further(net: Net, model: nn.Module, rows: Sequence[Mapping[str, Any]], keep: Path, seed: int) -> list[dict[str, float]]:
    """Accuracies of the factors that ``tuned`` kept at each of ``FINE_TUNED``, after more training."""
    data = data_of(net.task)
    assert data.validation is not None and data.test is not None
    source = inspect(net.name, model, data.validation.sample_shape)
    made: dict[str, dict[str, float]] = {}
    for row in rows:
        told = str(row["ranks"])
        if row["loss"] in FINE_TUNED and told not in made and any(row["ranks"]):
            plan = Plan({w.name: Choice("recurrent", r) if r else DENSE for w, r in zip(gates(source), row["ranks"], strict=True)})
            small = skeleton(source.folded, plan)
            small.load_state_dict(load_file(_with_ranks(keep, row["ranks"])))
            fit(small, net, TUNE_RATE, net.tune_epochs, seed, PLAIN, f"{net.name}, factors at {row['loss']:g} %")
            made[told] = {"tuned_validation": accuracy(small, data.validation), "tuned_test": accuracy(small, data.test)}
    return [{"loss": row["loss"], **made[str(row["ranks"])]} for row in rows if str(row["ranks"]) in made]


def gates(source: Source) -> list[Layer]:
    return [layer for layer in source.layers if layer.kind == "recurrent"]


def _with_ranks(keep: Path, ranks: Sequence[int | None]) -> Path:
    return keep.with_name(f"{keep.name}-{'-'.join(str(r or 0) for r in ranks)}.safetensors")


def _spread(count: int, most: int) -> Any:
    return torch.linspace(0, count - 1, min(count, most)).long().numpy()


def main() -> None:
    arguments = parser(__doc__, "rank-tuning")
    arguments.add_argument("--cache", type=Path, required=True, help="folder outside the checkout for trained networks")
    given = arguments.parse_args()
    need(given.shared, "data/hapt_windows.npz", "data/fsdd.npz")
    torch.set_num_threads(1)
    begun = time.perf_counter()
    cells = Cells(given.out, {"trainings": TRAININGS, "losses": LOSSES, "nets": {n: asdict(net) for n, net in NETS.items()}})
    for name, seed, part in ROUNDS if not given.quick else ROUNDS[:1]:
        run(cells, name, seed, part, given.cache)
        parts, plot = page(cells.done, NETS, HEADLINE)
        publish(given.out, "Rank-Tuning: compression factor against loss", time.perf_counter() - begun, given.quick, *parts)
        if given.out:
            given.out.with_suffix(".svg").write_text(plot, encoding="utf-8")
    cells.finish()


def run(cells: Cells, name: str, seed: int, part: str, cache: Path) -> None:
    """Train one network both ways and tune each both ways, or train the factors further; what is done already is taken up."""
    net = NETS[name]
    for training, weight in TRAININGS.items():
        key, file = f"{name}/{seed}/{training}", cache / f"{name}-{seed}-{weight:g}.safetensors"

        def model(weight: float = weight, file: Path = file) -> tuple[nn.Module, float]:
            return trained(net, seed, weight, file)

        def told(model: Callable[[], tuple[nn.Module, float]] = model) -> dict[str, Any]:
            made, seconds = model()
            return facts(made, net) | {"seconds": seconds, **bytes_of(inspect(net.name, made, _shape(net)).graph, False)}

        cells.cell(key, told)
        reference = cells.done[f"{name}/{seed}/plain"]
        for way, aware in WAYS.items():
            keep = file.with_name(f"{file.stem}-{'aware' if aware else 'plain'}")
            rows = cells.cell(f"{key}/{way}", lambda m=model, a=aware, r=reference, k=keep: tuned(net, m()[0], r, a, k))
            if part == "factors" and aware:
                cells.cell(f"{key}/factors", lambda m=model, r=rows, k=keep: trained_further(net, m()[0], r, k, seed))


def _shape(net: Net) -> tuple[int, ...]:
    split = data_of(net.task).test
    assert split is not None
    return split.sample_shape


if __name__ == "__main__":
    main()
