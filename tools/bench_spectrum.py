"""The modified stable rank on a real network: spectra before and after, and what truncation costs then, before any fine-tuning.

    OMP_NUM_THREADS=1 python tools/bench_spectrum.py --cache FOLDER --out docs/benchmarks/spectrum.md

ResNet-20 on CIFAR-10 (JPEG copy), ranks by the additive optimum at a quarter of its MACs. From the same trained network, with the same
batches and rate: plain training, the modified stable rank with both exponents, and the nuclear norm (Alvarez and Salzmann 2017), the
baseline of the paper's figure. Writes the figure beside the page. FOLDER holds the decoded images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bench_papers import FILES, loss_of
from bench_table import Cells, need, parser, publish, table, tell
from papers_data import Cifar, Draws, Images, base, normalised, read
from papers_plans import accuracy
from spectrum_plot import drawing
from torch import Tensor, nn

from edgelr.factorize import choice_cost, decompose, named_layers, rebuild
from edgelr.pipeline import candidates
from edgelr.pipeline.source import Source, inspect
from edgelr.pipeline.training.recipes import RECALIBRATION, Recipe, factorised, fit
from edgelr.ranks import additive
from edgelr.training import PLAIN, Bsr, BsrSettings, Method, RankTuning, matrices, recalibrate
from edgelr.training.bsr import Exponent, modified_stable_rank
from edgelr.training.method import Matrix
from edgelr.training.rank_tuning import RankTuningSettings
from edgelr.vocabulary import DENSE, Plan, Scheme

SHARE, STEPS = 0.25, 4
SCHEME: Scheme = "spatial"
EPOCHS, RATE, CALIBRATION, BATCH = 2, 0.02, 512, 64
DRAWN = ("blocks.2.conv2", "blocks.5.conv1", "blocks.8.conv1")  # one of each width
NUCLEAR = RankTuningSettings(weight=0.04, ramp=(0.0, 0.2), every=0, refresh=20)


class Way(NamedTuple):
    title: str
    method: Callable[[Sequence[Matrix]], Method]


WAYS = {
    "plain": Way("plain training", lambda aims: PLAIN),
    "nuclear": Way("nuclear norm, weight 0.04", lambda aims: RankTuning(aims, NUCLEAR)),
    "bsr1": Way("modified stable rank, exponent 1, weight 8", lambda aims: Bsr(aims, BsrSettings(8.0, 1))),
    "bsr2": Way("modified stable rank, exponent 2, weight 16", lambda aims: Bsr(aims, BsrSettings(16.0, 2))),
}


def additive_plan(source: Source, calibration: Sequence[Tensor], share: float = SHARE, scheme: Scheme = SCHEME) -> Plan:
    """The additive optimum of input-aware errors at this share of the MACs."""
    able, _, _ = candidates.factorisable(source.layers, source.graph, source.folded)
    options = candidates.choices(able, (scheme,), STEPS, ["macs"])
    factors = candidates.Factors(source)
    factors.prepare([w for w in able if w.name in options], (scheme,), lambda: calibration)
    rows = candidates.table(able, options, lambda name, choice: {}, factors.error)
    inside = sum(choice_cost(w, DENSE)[1] for w in able if w.name in options)
    whole = source.macs or 0
    return additive(rows, {"macs": share * whole}, {"macs": float(whole - inside)}).plan


def parts(images: Images) -> tuple[list[Tensor], list[Tensor]]:
    x, y = torch.from_numpy(images.x), torch.from_numpy(images.y)
    return [normalised(b) for b in x.split(BATCH)], list(y.split(BATCH))


def truncated(source: Source, plan: Plan) -> nn.Module:
    """Cut by the weights alone, as the paper does it: batch norm stays what it is."""
    net, layers = copy.deepcopy(source.plain).eval(), named_layers(source.plain)
    return rebuild(net, plan, {(n, c.scheme): decompose(layers[n], c.scheme) for n, c in plan.factorised().items()})


def measured(source: Source, plan: Plan, calibration: Sequence[Tensor], cifar: Cifar, counts: Mapping[str, int]) -> dict[str, Any]:
    """Spectra, what lies beyond the ranks, and accuracies: whole, cut by weights, cut by inputs."""
    held, test = parts(cifar.selection.first(counts["held"])), parts(cifar.test.first(counts["test"]))
    aims = matrices(source.plain, plan)
    views = [m.view().detach().double() for m in aims]
    found: dict[str, Any] = {"spectra": {m.name: torch.linalg.svdvals(v)[0].tolist() for m, v in zip(aims, views, strict=True)}}
    exponents: tuple[Exponent, ...] = (1, 2)
    for exponent in exponents:
        each = [float(modified_stable_rank(v, m.rank, exponent)) for m, v in zip(aims, views, strict=True)]
        found[f"msr{exponent}"] = sum(each) / len(each)
    found["energy"] = sum(beyond(found, m.name, m.rank) for m in aims) / len(aims)
    aware, _ = factorised(source, plan, lambda: calibration)
    for name, net in (("whole", source.folded), ("cut", truncated(source, plan)), ("aware", aware)):
        found[name] = {"held": accuracy(net, *held), "test": accuracy(net, *test)}
    return found


def beyond(found: Mapping[str, Any], layer: str, rank: int) -> float:
    """The share of a layer's energy in the singular values beyond the rank."""
    energies = [v * v for v in found["spectra"][layer]]
    return sum(energies[rank:]) / sum(energies)


def trained(source: Source, plan: Plan, way: Way, batches: Draws) -> Source:
    net = copy.deepcopy(source.plain)
    schedule = Recipe().schedule(EPOCHS)
    fit(net, loss_of, batches, schedule, RATE, way.method(matrices(net, plan)), lambda progress: tell(f"{way.title}: {progress}"))
    recalibrate(net, islice(batches.epoch(EPOCHS), RECALIBRATION))
    return inspect(source.name, net, source.shape)


def main() -> None:
    options = parser(__doc__, "spectrum")
    options.add_argument("--cache", type=Path, required=True, help="folder outside the checkout for decoded images")
    chosen = options.parse_args()
    need(chosen.shared, *FILES)
    counts = {"held": 128, "test": 128, "images": 256} if chosen.quick else {"held": 1_000, "test": 2_000, "images": 10_000}
    cifar = read(chosen.shared, chosen.cache)
    source = inspect("resnet20", base("resnet20", chosen.shared, chosen.cache, cifar), (3, 32, 32))
    calibration, _ = parts(cifar.train.first(CALIBRATION))
    plan = additive_plan(source, calibration)
    batches = Draws(cifar.train, counts["images"])
    cells = Cells(chosen.out, {"counts": counts, "epochs": EPOCHS, "rate": RATE, "plan": {n: str(c) for n, c in plan.choices.items()}})
    found = {"start": cells.cell("start", lambda: measured(source, plan, calibration, cifar, counts))}
    for name, way in WAYS.items():
        found[name] = cells.cell(name, lambda way=way: measured(trained(source, plan, way, batches), plan, calibration, cifar, counts))
    titles = {"start": "the network as given", **{n: w.title for n, w in WAYS.items()}}
    rows = [row(titles[n], f) for n, f in found.items()]
    ranks = {n: plan[n].rank or 0 for n in DRAWN}
    if chosen.out:
        lines = {n: {titles[k]: found[k]["spectra"][n] for k in found} for n in DRAWN}
        figure = drawing("Singular values, each layer's largest being 1, before and after training at the target rank", lines, ranks)
        chosen.out.with_suffix(".svg").write_text(figure, encoding="utf-8")
    head = ("training", "mSR, exponent 1", "mSR, exponent 2", "energy beyond the rank", "held-out whole", "held-out cut by weights",
            "held-out cut by inputs", "test whole", "**test cut by weights**", "test cut by inputs")  # fmt: skip
    layer_rows = [
        (n, f"{ranks[n]} of {len(found['start']['spectra'][n])}", *(f"{beyond(f, n, ranks[n]):.1%}" for f in found.values())) for n in DRAWN
    ]
    publish(
        chosen.out,
        "The modified stable rank: the spectrum before and after",
        sum(cells.seconds.values()),
        chosen.quick,
        f"ResNet-20 on CIFAR-10 (JPEG copy), scheme {SCHEME}, ranks (multiples of {STEPS}) by the additive optimum at {SHARE:.0%} of the "
        f"MACs. Each row is {EPOCHS} epochs of {counts['images']:,} augmented training images from the same trained network, SGD with "
        f"Nesterov's momentum, peak rate {RATE}, the same batches (one seed). Nothing is fine-tuned after the cut: \"cut by weights\" "
        "is truncated SVD, as in the paper's figure, \"cut by inputs\" the factors that edgelr makes. Accuracies are measured: "
        f"{counts['held']:,} held-out training images, and {counts['test']:,} of the test file, which chose nothing. The nuclear norm's "
        "weight gives the tail about the push that exponent 1 has here.",
        table(head, rows),
        "## Energy beyond the target rank, layer by layer",
        table(("layer", "rank", *(titles[k] for k in found)), layer_rows),
        "![Singular values of three layers, before and after](spectrum.svg)",
    )
    cells.finish()


def row(title: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    scores = [f"{found[k][part]:.1%}" for part in ("held", "test") for k in ("whole", "cut", "aware")]
    return title, f"{found['msr1']:.3f}", f"{found['msr2']:.3f}", f"{found['energy']:.1%}", *scores


if __name__ == "__main__":
    main()
