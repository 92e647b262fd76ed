"""The operations of the shipped tables, each counted on an emulated core."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from counting import NotCountedError, events
from rates import Vector, features

from edgelr.errors import UnsupportedError
from edgelr.latency.families import Family, family_of, work_of
from edgelr.latency.gauges import CHAIN, CHAINED, ONE, gauge_files
from edgelr.latency.grid import grid
from edgelr.latency.operation import Operation
from edgelr.latency.samples import sample
from edgelr.vocabulary import Format, Numbers

RUNTIME: dict[Format, str] = {"tflite": "litert", "onnx": "onnxruntime"}
LIGHT_MACS: dict[Numbers, int] = {"int8": 20_000_000, "float": 8_000_000, "dynamic": 20_000_000}
HEAVY_SHARE: dict[Numbers, int] = {"int8": 1, "float": 8, "dynamic": 2}  # floats are emulated in software: half a minute for 10^9
THINNED: tuple[Numbers, ...] = ("float", "dynamic")  # half of the rows of a large family: emulated floats take hours
FEW = 12
BATCH = 200  # files that one emulated process counts


def chosen(format: Format, numbers: Numbers) -> tuple[Operation, ...]:
    """The grid's operations up to ``LIGHT_MACS`` multiplications; of the others some, the heaviest, and what ResNets repeat."""
    every = _halved(grid(format, numbers)) if numbers in THINNED else grid(format, numbers)
    heavy = [o for o in every if work_of(o) > LIGHT_MACS[numbers]]
    some = {*heavy[:: HEAVY_SHARE[numbers]], *heavy[-1:], *(o for o in heavy if o.inputs[0] == o.output)}
    return tuple(o for o in every if work_of(o) <= LIGHT_MACS[numbers] or o in some)


def _halved(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Every second operation of families with more than a few, smallest and largest always; and all loops: their sizes are few."""
    families: dict[Family, list[Operation]] = defaultdict(list)
    for operation in operations:
        families[family_of(operation)].append(operation)
    left = {o for f in families.values() for o in (f if len(f) <= FEW or f[0].op == "loop" else [*f[::2], f[-1]])}
    return tuple(o for o in operations if o in left)


def counted(
    operations: Sequence[Operation], format: Format, core: str, environments: Path, kept: Path, tell: Callable[[str], None]
) -> dict[Operation, Vector]:
    """Events of each operation inside a network: what a call costs by itself is taken off. One that can't be made or run is left out.

    Caches hold its inputs alone; for a loop, whose turns read the same weights again and again, what the call before left.
    """
    call = call_events(format, core, environments, kept)
    found: dict[Operation, Vector] = {}
    for begin in range(0, len(operations), BATCH):
        files = dict(_files(operations[begin : begin + BATCH], format, tell))
        for cold in (True, False):
            some = {o: data for o, data in files.items() if (o.op != "loop") == cold}
            for operation, raw in _events(some, format, core, environments, kept, tell, cold):
                found[operation] = (raw - call).clip(min=0.0)
        tell(f"{core} {RUNTIME[format]}: {min(begin + BATCH, len(operations))} of {len(operations)}")
    return found


def counted_on(kernels: str, format: Format, numbers: Numbers) -> str:
    """The core whose counts hold for a core with these kernels.

    ONNX Runtime's kernels differ by dot products alone: on 73 operations, A53 executes within 1 % of A72's instructions and fetches 3 %
    fewer lines into L1, and on 32 in float A76 executes within 0.5 % of them. So A72 is counted, and A76 where integers multiply.
    """
    return "a72" if format == "onnx" and (kernels == "a53" or numbers == "float") else kernels


def call_events(format: Format, core: str, environments: Path, kept: Path) -> Vector:
    """What a call costs beyond its operations: one tiny operation against a chain of them."""
    files = gauge_files(format)
    one, chain = (features(e) for e in events([(n, files[n]) for n in (ONE, CHAIN)], core, RUNTIME[format], environments, kept))
    return (one - (chain - one) / (CHAINED - 1)).clip(min=0.0)


def _files(operations: Sequence[Operation], format: Format, tell: Callable[[str], None]) -> Iterator[tuple[Operation, bytes]]:
    for operation in operations:
        try:
            yield operation, sample(operation, format)
        except UnsupportedError:
            tell(f"left out: {operation}")


def _events(
    files: dict[Operation, bytes], format: Format, core: str, environments: Path, kept: Path, tell: Callable[[str], None],
    cold: bool,
) -> Iterator[tuple[Operation, Vector]]:
    try:
        done = events([(str(o), data) for o, data in files.items()], core, RUNTIME[format], environments, kept, cold=cold)
    except NotCountedError as error:
        for name, why in error.reasons.items():
            tell(f"left out: {name}: {why}")
        left = {o: data for o, data in files.items() if str(o) not in error.reasons}
        yield from _events(left, format, core, environments, kept, tell, cold)
        return
    for operation, found in zip(files, done, strict=True):
        yield operation, features(found)
