"""A target's page: what its tables hold and how wrong they are."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from bands import between_cores
from fitting import STANDING_IN, Key, fitted, key_of, predicted_ms, rates_of
from published import rows, speedup
from rates import CORES, Vector, milliseconds

from edgelr.devices import Target
from edgelr.latency.table import Table
from edgelr.vocabulary import Format


def page(target: Target, tables: Mapping[Format, Table], counts: Mapping[Key, Vector]) -> str:
    """Markdown."""
    core = target.core.removeprefix("cortex-")
    return "\n\n".join([
        f"# {target.name}", f"{target.device}.",
        f"The tables price one thread of one {_spelt(target.core)} at {target.clock_ghz:g} GHz. They are **simulated**: nobody measured "
        "them on this device. A row is what the runtime's own kernels execute under emulation, counted exactly (instructions by class, "
        "lines moved between caches), times cycles for each.",
        *([f"No emulator at hand has a {_spelt(target.core)}: the kernels and counts are those of a {_spelt(target.kernels)}"
           f"{_floats(core)}."] if target.kernels else []),
        f"Cycles: {CORES[core].on}; then fitted to the published times below, as far as there are any of this core.",
        *_between(core),
        "## What they hold", _held(tables),
        "## How wrong they are",
        *(f"{t.head.runtime}: a whole network's time within **{t.head.band:.0%}**, the ratio of two networks' times, which choosing "
          f"between them takes, within **{t.head.ratio_band:.0%}** ({t.head.band_from})." for t in tables.values()),
        "A budget on this target keeps that much in reserve.",
        _checked(core, counts),
        "ONNX Runtime's kernels differ between these cores by dot products alone: counted were a Cortex-A72, and a Cortex-A76 where "
        "integers multiply.",
        "Not in these numbers: more threads than one, clocks that fall with heat, what else the device does, and times of ONNX Runtime, of "
        "which too few were published to check (its kernels are counted as LiteRT's are). docs/benchmarks/simulated.md has every published "
        "row, also where the simulation is bad.",
        "Three to five measurements of your own take out what is off by the same factor:",
        f"    edgelr table calibrate {target.name} --measured a.tflite:31.2ms --measured b.tflite:12.9ms --measured c.tflite:58ms",
        "`python tools/emulation/build_targets.py` makes these files again, byte for byte.",
    ]) + "\n"


def _floats(core: str) -> str:
    return f", in float those of a {_spelt(f'cortex-{CORES[core].floats}')}" if CORES[core].floats else ""


def _between(core: str) -> list[str]:
    between = between_cores(core)
    if not between.told.by_chip:
        return []
    chips = ", ".join(f"{chip} {times:.2f}" for chip, times in between.told.by_chip.items())
    return [f"In other runtimes a network takes {between.told.times:.2f} times the cycles of a {_spelt(f'cortex-{CORES[core].like}')} on "
            f"this core (medians: {chips}). Four of five networks are within {between.whole:.0%} of that, and ratios of two within "
            f"{between.ratio:.0%}."]  # fmt: skip


def _held(tables: Mapping[Format, Table]) -> str:
    lines = ["| runtime | version | rows | int8 | float | dynamic | kernels' step in output channels: int8, float | a call, µs |",
             "|---|---|---|---|---|---|---|---|"]
    for table in tables.values():
        head, kinds = table.head, Counter(o.numbers for o in table.rows)
        lines.append(f"| {head.runtime} | {head.version} | {len(table.rows)} | {kinds['int8']} | {kinds['float']} | {kinds['dynamic']} | "
                     f"{head.steps.get('int8', 1)}, {head.steps.get('float', 1)} | {head.call_us:.0f} |")
    return "\n".join(lines)


def _checked(core: str, counts: Mapping[Key, Vector]) -> str:
    found = [r for r in rows() if r.core == core and fitted(r) and key_of(r) in counts]
    if not found:
        return "No time of a network with today's kernels was found published for this core."
    rates = rates_of(core, counts)
    lines = ["| device | network | numbers | threads | published, ms | error, its publisher left out | error of these tables' cycles |",
             "|---|---|---|---|---|---|---|"]
    for r in found:
        left_out = predicted_ms(r, counts) / r.ms - 1
        now = milliseconds(counts[key_of(r)], rates, r.ghz) / speedup(r, r.origin) / r.ms - 1
        lines.append(f"| {r.device} | {r.network} | {r.numbers} | {r.threads} | {r.ms:g} | {left_out:+.0%} | {now:+.0%} |")
    if not any(r.numbers == "int8" for r in found):
        lines.append("\nNone of these is int8: the int8 rows rest on ncnn's published times alone.")
    if any(r.source == STANDING_IN for r in found):
        lines.append("\nThose on four threads are of 32-bit kernels: too few others were found published for this core.")
    return "\n".join(lines)


def _spelt(core: str) -> str:
    return core.replace("cortex-a", "Cortex-A").replace("cortex-x", "Cortex-X")
