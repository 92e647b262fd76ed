"""Both simulated: a network's operations priced by a shipped table, one by one, against the whole network's own counts."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from counting import NotCountedError, events
from operations import RUNTIME
from rates import CORES, Rates, features, milliseconds
from reference_files import file_of

from edgelr.devices import load_target
from edgelr.latency.file_price import file_price
from edgelr.latency.pricer import Pricer
from edgelr.latency.table_file import loads

TARGETS = Path(__file__).resolve().parents[2] / "targets"
NETWORKS = (("resnet20/32", "int8"), ("resnet20/32", "float"), ("mobilenet_v2_1.0/224", "int8"), ("mobilenet_v2_1.0/224", "float"),
            ("resnet18/224", "int8"))  # fmt: skip
ON = ("raspberry-pi-zero-2w", "raspberry-pi-4", "raspberry-pi-5")


@dataclass(frozen=True)
class Sum:
    """``priced_ms``: the sum of the table's prices and of one call. ``beyond``: the share of it that no rows are around."""

    target: str
    runtime: str
    network: str
    numbers: str
    whole_ms: float
    priced_ms: float
    beyond: float


def sums(rates: Callable[[str], Rates], environments: Path, kept: Path, tell: Callable[[str], None]) -> Sequence[Sum]:
    """Every network, on three boards and in both runtimes; what a runtime refuses is left out. ``rates``: of a core, by its name."""
    found = []
    for name in ON:
        target = load_target(name)
        core = target.core.removeprefix("cortex-")
        for format, runtime in RUNTIME.items():
            pricer = Pricer(loads((TARGETS / name / f"{runtime}.tsv").read_text(encoding="utf-8")))
            for network, numbers in NETWORKS:
                try:
                    data = file_of(network, "float" if numbers == "float" else "int8", format)
                    counts = events([(f"{network} {numbers}", data)], CORES[core].kernels, runtime, environments, kept)[0]
                except NotCountedError as error:
                    tell(str(error))
                    continue
                price = file_price(data, format, pricer)
                beyond = sum(us for part, us in price.times.us.items() if price.basis[part] in ("beyond", "unlike"))
                whole_ms = milliseconds(features(counts), rates(core), target.clock_ghz)
                found.append(Sum(name, runtime, network, numbers, whole_ms, price.times.whole_us / 1e3, beyond / price.times.whole_us))
    return found
