"""The papers' counts, from edgelr's own counting of networks built from the papers' descriptions; and the C step against brute force.

    OMP_NUM_THREADS=1 python tools/bench_counts.py --out docs/benchmarks/counts.md

Nothing is trained and no data are read: about a minute.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from bench_table import parser, publish, table
from c_step_trials import LAYERS, budgets_equal, layers_equal
from paper_counts import Joint, dense, joint, joint_ranks, lrpet
from paper_nets import imagenet_resnet, thin_resnet, vgg16, wide_resnet

TRIALS = 1000


@dataclass(frozen=True)
class Row:
    """A number of a paper, as printed, and ours in the same unit."""

    network: str
    rule: str
    what: str
    printed: str
    value: float

    @property
    def told(self) -> tuple[str, ...]:
        return self.network, self.rule, self.what, self.printed, f"{self.value:.6g}", verdict(self.value, self.printed)


def verdict(value: float, printed: str) -> str:
    """ "equal" where the value, rounded to the printed digits, is the printed one; where only cut off it is, that; else the difference."""
    digits = len(printed.partition(".")[2])
    if f"{value:.{digits}f}" == printed:
        return "equal"
    if math.floor(value * 10**digits) == round(float(printed) * 10**digits):
        return "equal, cut off instead of rounded"
    return f"{value / float(printed) - 1:+.2%}"


def lrpet_rows() -> Iterator[Row]:
    """Guo et al. (arXiv 2204.05566), result tables of the released code."""
    cases = (
        ("ResNet-56, shortcut A", thin_resnet(56), 32, 0.57, (0, 0), "56.06", "0.39"),
        ("ResNet-110, shortcut A", thin_resnet(110), 32, 0.65, (0, 0), "93.78", "0.65"),
        ("VGG-16, one linear layer", vgg16(), 32, 0.95, (18, 43), "81.29", "1.62"),
        ("ResNet-18", imagenet_resnet(18), 224, 0.58, (0, 0), "0.86", "5.81"),
        ("ResNet-34", imagenet_resnet(34), 224, 0.58, (0, 0), "1.71", "10.51"),
        ("ResNet-50", imagenet_resnet(50), 224, 0.62, (0, 0), "1.90", "12.89"),
    )
    for name, network, side, goal, least, macs, params in cases:
        count = lrpet(network, side, goal, least)
        unit, size = ("GMACs", 1e9) if side == 224 else ("MMACs", 1e6)
        yield Row(name, f"LRPET, {goal:.0%} of rank off", unit, macs, count.macs / size)
        yield Row(name, f"LRPET, {goal:.0%} of rank off", "Mparams", params, count.params / 1e6)


def joint_rows() -> Iterator[Row]:
    """Chen et al. (arXiv 2107.04386), tables II and IV to VIII."""
    factors: tuple[tuple[int, int, float, Joint, str], ...] = (
        (34, 10, 0.04, "alone", "22.07"),
        (34, 10, 0.04, "left", "22.03"),
        (34, 10, 0.04, "right-1", "21.99"),
        (34, 10, 0.08, "alone", "13.92"),
        (18, 10, 0.04, "alone", "17.76"),
        (18, 10, 0.04, "left", "17.76"),
        (18, 10, 0.08, "alone", "11.99"),
        (34, 100, 0.04, "alone", "21.11"),
        (34, 100, 0.08, "alone", "13.55"),
        (18, 100, 0.04, "alone", "16.61"),
        (18, 100, 0.08, "alone", "11.47"),
    )
    words: dict[Joint, str] = {
        "alone": "each layer alone",
        "left": "left or right in common",
        "right-1": "right in common, a stage's first layer too",
    }
    for depth, classes, rate, how, printed in factors:
        network = wide_resnet(depth, classes)
        value = dense(network, 32).params / joint(network, 32, rate, how).params
        yield Row(f"ResNet-{depth}, CIFAR-{classes}", f"rate {rate}, {words[how]}", "times fewer params", printed, value)
    network = wide_resnet(34)
    yield Row("ResNet-34, CIFAR-10", "dense", "1e8 FLOPs (2 a MAC)", "23.19", 2 * dense(network, 32).macs / 1e8)
    flops: tuple[tuple[Joint, str], ...] = (("alone", "5.20"), ("left", "5.47"))
    for how, printed in flops:
        value = 2 * joint(network, 32, 0.04, how).macs / 1e8
        yield Row("ResNet-34, CIFAR-10", f"rate 0.04, {words[how]}", "1e8 FLOPs (2 a MAC)", printed, value)
    yield Row("ResNet-34, ImageNet", "dense", "1e9 FLOPs (2 a MAC)", "7.33", 2 * dense(imagenet_resnet(34), 224).macs / 1e9)


def lc_rows() -> Iterator[Row]:
    """Idelbayev and Carreira-Perpinan (CVPR 2020), figure 2: the dense networks, read from the figure (to about 2 %)."""
    for name, network, printed in (
        ("ResNet-20, shortcut A", thin_resnet(20), "40.6"), ("ResNet-56, shortcut A", thin_resnet(56), "125.5"),
        ("ResNet-110, shortcut A", thin_resnet(110), "252.6"), ("VGG-16, one linear layer", vgg16(), "313"),
    ):
        yield Row(name, "dense", "MMACs", printed, dense(network, 32).macs / 1e6)


def notes() -> str:
    """What has to be known to get at the numbers."""
    option_b = [lrpet(thin_resnet(d, "B"), 32, goal).macs / 1e6 for d, goal in ((56, 0.57), (110, 0.65))]
    ranks = ", ".join(f"{r} ({n} layers)" for n, r in joint_ranks(wide_resnet(34), 0.04))
    return "\n".join(
        (
            "- Shortcuts of the CIFAR ResNets: with zero padding (He et al.'s option A) LRPET's MACs come out to the digit; with 1x1 "
            f"convolutions (option B) they are {option_b[0]:.2f} and {option_b[1]:.2f} M.",
            "- LRPET's parameters are 0.394 M (ResNet-56) and 0.655 M (ResNet-110), printed as 0.39 and 0.65: the latter is cut off, not "
            "rounded. With batch norm they would be 0.399 and 0.663 M.",
            "- LRPET's ImageNet MACs are printed to two digits; to three they are 0.861, 1.715 (cut off to 1.71) and 1.903 G.",
            "- LRPET's VGG-16 has floors (18 for the first convolution, 43 for the others) that hold every layer from a cut of 92 % on: "
            "the count doesn't depend on the cut.",
            f"- Joint decomposition, ranks of the groups of ResNet-34 at rate 0.04: {ranks}. Its 13.925 times is printed as 13.92.",
            "- Learning-compression's dense MACs were read from its figure 2, which is good to about 2 %.",
        )
    )


def main() -> None:
    options = parser(__doc__, "counts").parse_args()
    start, trials = time.perf_counter(), 50 if options.quick else TRIALS
    rows = [*joint_rows(), *lrpet_rows(), *lc_rows()]
    rng = np.random.default_rng(0)
    layers, networks = layers_equal(trials, rng), budgets_equal(trials, rng)
    publish(
        options.out,
        "Counts of the papers, and the C step against brute force",
        time.perf_counter() - start,
        options.quick,
        "All counted, by edgelr's own survey and costs, on networks built from the papers' descriptions (`tools/paper_nets.py`) with the "
        "papers' rank rules (`tools/paper_counts.py`). Parameters are those of convolutions and linear layers with their biases; MACs "
        "are one multiply with its add, of the same layers. Batch norm counts in neither: the papers' numbers come out only so.",
        table(("network", "rule", "what", "paper", "edgelr (counted)", "verdict"), [r.told for r in rows]),
        "## What the numbers stand on",
        notes(),
        "## The C step",
        table(
            ("what was tried", "random problems", "equal to brute force", "remark"),
            [
                ("a layer, a price on cost (`threshold_rank`), against every rank", trials, layers.equal, f"{layers.dense:.0%} stay dense"),
                (
                    f"{LAYERS} layers under a budget (`c_step`), against all plans",
                    trials,
                    networks.equal,
                    f"the others have {networks.excess:.1%} more error (median); {networks.left:.1%} of the limit is left",
                ),
                (f"{LAYERS} layers under a budget (`additive`), against all plans", trials, networks.additive_equal, "for comparison"),
            ],
        ),
        "Costs are capped at dense. A price reaches only plans on the lower convex hull of error and cost; between two of them lies what "
        f"one candidate costs. With {LAYERS} layers of 9 candidates that is much; with 12 layers of 24 the error is within 3 % of the "
        "optimum's (median; `tests/unit/test_learning_compression.py`).",
    )


if __name__ == "__main__":
    main()
