"""Cycles per event of each core, fitted to published times: which rows take part, and which rates a prediction may use."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from core_pairs import multiple
from counting import NotCountedError, events
from published import Published, rows, speedup
from rates import CORES, Rates, Vector, counted_as, features, fit, milliseconds
from reference_files import file_of

# Kernels of today's XNNPACK, on one thread. Others' times are of older kernels or of several threads: they only test.
FITTED = ("detectors-2.18", "detectors-2.5", "xnnpack-2020", "freedomtan")
# Too few of an A53 were found: XNNPACK's 32-bit kernels on four threads stand in, over the speed-up that others published.
STANDING_IN = "xnnpack-2022-armv7"
# edgelr writes hard-swish as four operations, a quarter of this network's time: not the file that others timed.
ANOTHER_FILE = "mobilenet_v3"
Key = tuple[str, str, str]  # network, numbers, the core whose kernels are counted


def key_of(row: Published) -> Key:
    return row.network, row.numbers, CORES[counted_as(row.core, row.numbers)].kernels


def fitted(row: Published) -> bool:
    """Whether the row takes part in the fit."""
    told = (row.source in FITTED and row.threads == 1) or row.source == STANDING_IN
    return told and not row.network.startswith(ANOTHER_FILE)


def counts_of(keys: Sequence[Key], environments: Path, kept: Path, tell: Callable[[str], None]) -> dict[Key, Vector]:
    """Events of whole networks as ``Rates`` prices them, counted or found in ``kept``; one that a runtime refuses is left out."""
    found: dict[Key, Vector] = {}
    for key in keys:
        network, numbers, core = key
        data = file_of(network, "float" if numbers == "float" else "int8")
        try:
            found[key] = features(events([(f"{network} {numbers}", data)], core, "litert", environments, kept)[0])
        except NotCountedError as error:
            tell(str(error))
            continue
        tell(f"{network} {numbers} {core}")
    return found


def rates_of(core: str, counts: Mapping[Key, Vector], *, without: str = "", among: Sequence[Published] | None = None) -> Rates:
    """The rates of a core, fitted to every row of it that ``fitted`` admits; ``without`` leaves out all that one origin published."""
    fitted_core = CORES[core].like or core
    used = [r for r in among or rows() if r.core == fitted_core and fitted(r) and r.origin != without and key_of(r) in counts]
    one_thread, known = [r.ms * speedup(r, r.origin) for r in used], CORES[fitted_core]
    found = fit(known.first, [counts[key_of(r)] for r in used], one_thread, [r.ghz for r in used], trust=known.trust)
    return found.by(multiple(core, fitted_core).times) if fitted_core != core else found


def predicted_ms(row: Published, counts: Mapping[Key, Vector]) -> float:
    """A published row's time by rates and speed-ups that nothing of its origin took part in."""
    rates = rates_of(counted_as(row.core, row.numbers), counts, without=row.origin)
    return milliseconds(counts[key_of(row)], rates, row.ghz) / speedup(row, row.origin)


