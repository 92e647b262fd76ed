"""What each choice of each layer costs in the network, on one runtime: all layers' k-th candidates in one file.

Isolated layers mislead (their sum is 5-70 % off and is unfair to low rank), and one file for each choice takes too long. So
variant k is the whole network with every layer at its k-th candidate: as many files as the layer with the most candidates
has, each told operation by operation, and all of them whole against each other, interleaved where they are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median
from types import MappingProxyType

from edgelr.latency.machine import RUNTIMES, Machine
from edgelr.latency.op_times import OpTimes
from edgelr.vocabulary import DENSE, Choice, Format, How, Plan

FORMATS: dict[str, Format] = {runtime: format for format, runtime in RUNTIMES.items()}
PROFILE_US = 1.5e6  # enough repetitions of a file to fill this, within the bounds below
ROUNDS_MIN, ROUNDS_MAX = 10, 30


@dataclass(frozen=True)
class Prices:
    """Microseconds for each (layer, choice), and ``base_us`` for all that no choice changes: in-network, on ``on``, by ``how``."""

    runtime: str
    on: str
    us: Mapping[tuple[str, Choice], float]
    base_us: float
    how: How = "measured"

    def predicted_us(self, plan: Plan, layers: Mapping[str, object]) -> float:
        """The whole network's latency under a plan: predicted."""
        return self.base_us + sum(self.us[name, plan[name]] for name in layers)

    def corrected(self, plan: Plan, measured_us: float) -> Prices:
        """Prices under which the plan's prediction is what was measured: its factorised choices, and all like them, scaled."""
        layers = {name for name, _ in self.us}
        dense = self.base_us + sum(self.us[name, DENSE] for name in layers if plan[name] == DENSE)
        pairs = sum(self.us[name, plan[name]] for name in layers if plan[name] != DENSE)
        if pairs <= 0 or measured_us <= dense:
            return self
        factor = min(2.0, max(0.5, (measured_us - dense) / pairs))
        us = {key: value if key[1] == DENSE else value * factor for key, value in self.us.items()}
        return Prices(self.runtime, self.on, us, self.base_us, self.how)


def variants(candidates: Mapping[str, tuple[Choice, ...]]) -> tuple[Plan, ...]:
    """Plans in which every layer sits at its k-th choice; a layer that has run out of choices is dense again."""
    count = max((len(c) for c in candidates.values()), default=0)
    plans = [Plan({n: c[k] if k < len(c) else DENSE for n, c in candidates.items()}) for k in range(count)]
    return (Plan(dict.fromkeys(candidates, DENSE)), *plans)


def price(
    files: Mapping[Plan, bytes],
    candidates: Mapping[str, tuple[Choice, ...]],
    *,
    format: Format,
    machine: Machine,
    seed: int = 0,
    groups: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Prices:
    """Price every choice from the written ``variants``. Operations are named NAME (dense), or NAME.0 and NAME.1. ``groups``: the layers
    of a name that stands for several, which are chosen together.

    An operation's time is scaled so that its file's operations add up to the file as a whole.
    """
    whole = machine.together({str(i): data for i, data in enumerate(files.values())}, format, rounds=20, min_seconds=0.2, seed=seed)
    seen: dict[tuple[str, Choice], list[float]] = {}
    rest: list[float] = []
    for i, (plan, data) in enumerate(files.items()):
        whole_us = whole[str(i)].median * 1e3
        rounds = int(min(ROUNDS_MAX, max(ROUNDS_MIN, PROFILE_US / max(whole_us, 1))))
        times = machine.op_times(data, format, rounds=rounds)
        scale = whole_us / max(times.sum_us, 1e-9)
        left = whole_us
        for name in candidates:
            us = scale * sum(layer_us(times, layer) for layer in groups.get(name, (name,)))
            seen.setdefault((name, plan[name]), []).append(us)
            left -= us
        rest.append(left)
    us_of = {key: fmean(values) for key, values in seen.items()}
    return Prices(machine.runtimes[format], machine.on, us_of, median(rest), machine.how)


def layer_us(times: OpTimes, name: str) -> float:
    """What a layer's operations cost together: itself, its two halves or those of two pairs, with what was put in for them (NAME/pad …)."""
    halves = (f"{name}.0", f"{name}.1")
    own = (name, *halves, *(f"{half}.{i}" for half in halves for i in (0, 1)))
    return sum(us for op, us in times.us.items() if op in own or op.startswith(tuple(f"{o}/" for o in own)))

