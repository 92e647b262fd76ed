"""Whether times can be trusted: what the device's own sensors say, and what the times themselves give away."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median

import numpy as np

from edgelr.devices.answers import Answer
from edgelr.devices.statistics import spread

# Sessions of one file in one process differed by 0.8-5.2 % on a shared x86-64 machine: less than that is no drift within a short while.
DRIFT_LIMIT = 0.05
DRIFT_A_MINUTE = 0.02
_BINS = 100
CLOCK_DROP = 0.1
HOT_C = 80.0  # where a Raspberry Pi begins to lower its clock
SHARED = 0.8  # with less than this of a core, another program had the rest
MODES_RATIO, MODES_SHARE, MODES_APART, MODES_CALLS = 1.2, 0.1, 5.0, 20
# Raspberry Pi's get_throttled: bits 0-3 now, bits 16-19 since it was started.
_THROTTLED = ("its voltage is too low", "its clock is capped", "it is throttled", "it is at its soft temperature limit")


@dataclass(frozen=True)
class Probe:
    """What the sensors said at one moment; None where there is no such sensor."""

    when: str
    clock_mhz: float | None = None
    temperature_c: float | None = None
    throttled: int | None = None
    load: float | None = None
    governor: str = ""


@dataclass(frozen=True)
class Series:
    """One file's times: the calls of each round in milliseconds, when each round began, and seconds of all calls by both clocks."""

    rounds_ms: tuple[tuple[float, ...], ...]
    starts_s: tuple[float, ...] = ()
    wall_s: float = 0.0
    cpu_s: float = 0.0


def probe_of(answer: Answer) -> Probe:
    """From the harness's line "probe"."""
    told = {key: answer.number(key) for key in ("clock_mhz", "temperature_c", "load") if key in answer.values}
    bits = int(answer.number("throttled")) & 0xFFFFFFFF if "throttled" in answer.values else None
    governor = answer.text("governor", 60) if "governor" in answer.values else ""
    return Probe(answer.text("when", 20), throttled=bits, governor=governor, **told)


def verdict(probes: Sequence[Probe], series: Mapping[str, Series]) -> tuple[str, ...]:
    """Why these times can't be trusted, a sentence each; empty if nothing speaks against them."""
    flags = [*sensed(probes)]
    for name, one in series.items():
        change, beyond = drift(one)
        if beyond:
            flags.append(f"'{name}' drifts: {change:+.0%} from the first third of the measurement to the last")
        if found := two_modes(list(chain.from_iterable(one.rounds_ms))):
            flags.append(f"'{name}' has two speeds, {found[0]:.3g} and {found[1]:.3g} ms: it moved between cores or clocks")
        if one.wall_s > 0 and one.cpu_s / one.wall_s < SHARED:
            flags.append(f"'{name}' had its core for {one.cpu_s / one.wall_s:.0%} of the time: another program ran there")
    return tuple(flags)


def sensed(probes: Sequence[Probe]) -> tuple[str, ...]:
    """What the sensors say against times that were taken between the first of these probes and the last."""
    flags = []
    bits = [p.throttled for p in probes if p.throttled is not None]
    now = 0
    for value in bits:
        now |= value & 0xF
        now |= (value & ~bits[0]) >> 16 & 0xF
    flags += [f"the device says that {words}" for i, words in enumerate(_THROTTLED) if now >> i & 1]
    clocks = [p.clock_mhz for p in probes if p.clock_mhz]
    lost = 1 - min(clocks) / clocks[0] if clocks else 0.0
    if lost > CLOCK_DROP:
        flags.append(f"the clock fell from {clocks[0]:.0f} to {min(clocks):.0f} MHz")
    heat = max((p.temperature_c for p in probes if p.temperature_c is not None), default=0.0)
    # Many processors run hot at full speed: heat speaks against times where the clock falls, or where nobody knows whether it does.
    if heat >= HOT_C and (lost > 0.02 or not clocks):
        flags.append(f"the processor reached {heat:.0f} °C")
    return tuple(flags)


def drift(series: Series) -> tuple[float, bool]:
    """The change from the first third to the last, and whether it is beyond the limit and beyond what noise explains.

    The limit is 5 %. A measurement of a minute or more also drifts where the slope through its times (Theil-Sen) is more than 2 % a
    minute and its 99.9 % interval leaves out 0: so 3 % a minute is noticed, through a noise of 1 %.
    """
    values = [median(turn) for turn in series.rounds_ms]
    third = len(values) // 3
    if third < 3:
        return 0.0, False
    first, last = spread(values[:third]), spread(values[-third:])
    if first.median == 0:
        return 0.0, False
    change = last.median / first.median - 1
    beyond = abs(change) > DRIFT_LIMIT and (last.low > first.high or last.high < first.low)
    return change, beyond or _slopes(values, series.starts_s)


def _slopes(values: Sequence[float], starts_s: Sequence[float]) -> bool:
    minutes = (np.asarray(starts_s) - starts_s[0]) / 60 if len(starts_s) == len(values) else np.zeros(1)
    if minutes[-1] < 1 or min(values) <= 0:
        return False
    from scipy.stats import theilslopes

    # In bins: the slope is of all pairs, and a long measurement has thousands of rounds.
    bins = [np.asarray(part) for part in np.array_split(np.arange(len(values)), min(len(values), _BINS))]
    logs, when = [float(np.log(np.median(np.take(values, b)))) for b in bins], [float(minutes[b].mean()) for b in bins]
    slope, _, low, high = theilslopes(logs, when, 0.999)
    return bool(abs(slope) > DRIFT_A_MINUTE and (low > 0 or high < 0))


def two_modes(times: Sequence[float]) -> tuple[float, float] | None:
    """The two speeds of times that fall into two clusters, as on a processor with cores of two kinds; None if they don't.

    The best split in two by squared error of the logarithms (Otsu 1979), the slowest 3 % left out as interruptions. Clusters must be 20 %
    apart, five of their standard deviations apart, and hold a tenth of the calls each. (One evenly spread range is 3.5 apart.)
    """
    ordered = np.sort(np.asarray(times, dtype=np.float64))[: int(len(times) * 0.97)]
    if len(ordered) < MODES_CALLS or ordered[0] <= 0:
        return None
    logs = np.log(ordered)
    n, sums, squares = np.arange(1, len(logs)), np.cumsum(logs), np.cumsum(logs**2)
    rest, low, high = len(logs) - n, sums[:-1] / n, (sums[-1] - sums[:-1]) / (len(logs) - n)
    within = squares[-1] - n * low**2 - rest * high**2
    k = int(np.argmin(within))
    apart = high[k] - low[k]
    deviation = np.sqrt(max(within[k], 0.0) / len(logs))
    if min(n[k], rest[k]) < MODES_SHARE * len(logs) or apart < np.log(MODES_RATIO) or apart < MODES_APART * deviation:
        return None
    return float(np.exp(low[k])), float(np.exp(high[k]))


def conditions(probes: Sequence[Probe]) -> dict[str, str]:
    """What was read before and after, in words; what has no sensor is left out."""
    if not probes:
        return {}
    first, last = probes[0], probes[-1]
    told = {"governor": first.governor if first.governor == last.governor else f"{first.governor}, then {last.governor}"}
    for key, before, after, form in (
        ("clock", first.clock_mhz, last.clock_mhz, "{:.0f} MHz"),
        ("temperature", first.temperature_c, last.temperature_c, "{:.0f} °C"),
        ("throttled", first.throttled, last.throttled, "{:#x}"),
        ("load", first.load, last.load, "{:.2f}"),
    ):
        if before is not None and after is not None:
            told[key] = f"{form.format(before)} before, {form.format(after)} after"
    return {key: text for key, text in told.items() if text}
