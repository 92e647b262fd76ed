"""Profile: what each operation of a network or of a written file takes on a device, and what its tables had predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgelr.errors import BadInputError, UsageError
from edgelr.latency import RUNTIMES, Machine
from edgelr.latency.cut import cut_operators
from edgelr.latency.tabled import Tabled
from edgelr.pipeline.files import draft
from edgelr.pipeline.log import Log
from edgelr.pipeline.machine import Place, machine_of, place_of, tables_of
from edgelr.pipeline.precision import Form, Precision
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.source import Source, input_shape, inspect, read_network
from edgelr.vocabulary import Format, How

ROUNDS = 30


@dataclass(frozen=True)
class ProfileLine:
    """One operation: its name in the file, the PyTorch module that it is of, what it is, and its microseconds.

    ``us`` is measured where a device is at hand, else it is the table's price; ``predicted_us`` is the table's, None without one.
    ``basis`` says what the price rests on: "row", "between", "beyond" or "unlike"; "" without a table.
    """

    name: str
    module: str
    operation: str
    us: float
    predicted_us: float | None
    basis: str


@dataclass(frozen=True)
class Profile:
    """One file on one runtime. ``whole_us`` is the whole file's latency, ``other_us`` what belongs to no operation of the file."""

    file: str
    format: Format
    runtime: str
    on: str
    how: How
    threads: int
    lines: tuple[ProfileLine, ...]
    other_us: float
    whole_us: float
    predicted_us: float | None


def profile(settings: Settings, log: Log) -> tuple[Profile, ...]:
    """Each file's operations on ``settings.target``: the machine's own, an attached device's, or by its tables.

    ``settings.model`` is a network, a written .tflite or .onnx file, or the folder of a finished run. A network is written dense, with
    ``settings.numbers`` and made-up ranges: times don't depend on them. Raises UsageError, BadInputError and DeviceError.
    """
    place = place_of(settings.target)
    files, modules = _files(settings, place)
    formats = tuple(dict.fromkeys(f for f, _ in files.values()))
    machine = machine_of(place, formats, strict=settings.strict, table=settings.table)
    try:
        tables = tables_of(place.target, tuple(machine.runtimes), settings.table)
        by_table = Tabled(tables.tables, tables.labels) if tables.tables else None
        told = []
        for name, (format, data) in files.items():
            if format in machine.runtimes:
                log.say(f"{name}: {RUNTIMES[format]} on {machine.on}")
                told.append(_profiled(name, data, format, machine, by_table, modules))
        for note in machine.notes():
            log.say(f"note: {note}")
    finally:
        machine.close()
    if not told:
        why = f"{place.target.name} has no runtime for {', '.join(formats)}"
        raise UsageError("there is nothing to profile", why, "name another --format")
    return tuple(told)


def module_of(name: str, modules: frozenset[str]) -> str:
    """The PyTorch module of an operation: the longest known name that the operation's begins with, up to a dot, slash or mark."""
    parts = name.partition("/")[0].partition("#")[0]
    while parts and parts not in modules:
        parts = parts.rpartition(".")[0]
    return parts


def _files(settings: Settings, place: Place) -> tuple[dict[str, tuple[Format, bytes]], frozenset[str]]:
    """Files by name, and the names of the network's modules (empty where only files are at hand)."""
    path = Path(settings.model)
    found = sorted(path.glob("model.int8.*")) if path.is_dir() else [path] if path.suffix in (".tflite", ".onnx") else []
    if found:
        formats: dict[str, Format] = {".tflite": "tflite", ".onnx": "onnx"}
        try:
            return {f.name: (formats[f.suffix], f.read_bytes()) for f in found if formats[f.suffix] in settings.formats}, frozenset()
        except OSError as error:
            raise BadInputError(f"{path} can't be read", str(error)) from error
    if path.is_dir():
        why = "it isn't the folder of a finished run"
        raise BadInputError(f"{path} holds no model.int8 file", why, "name a run's folder, a file or a network")
    name, network = read_network(settings)
    if not settings.input_shape:
        raise UsageError("the input's shape is not known", "", "--input 1x3x224x224")
    source = inspect(name, network, input_shape(settings, None))
    return _written(source, settings, place.target.weight_max), frozenset(n for n, _ in source.folded.named_modules())


def _written(source: Source, settings: Settings, weight_max: int) -> dict[str, tuple[Format, bytes]]:
    numbers = "int8" if settings.numbers == "auto" else settings.numbers
    form = Form(numbers)
    precision = Precision(dict.fromkeys(settings.formats, form), settings.keep_float, (), weight_max)
    return {f"{source.name}.{numbers}.{f}": (f, data) for f, data in draft(source.graph, settings.formats, precision).items()}


def _profiled(name: str, data: bytes, format: Format, machine: Machine, tables: Tabled | None, modules: frozenset[str]) -> Profile:
    times = machine.op_times(data, format, rounds=ROUNDS)
    price = tables.price(data, format) if tables and format in tables.tables else None
    predicted: Mapping[str, float] = price.times.us if price else {}
    basis: Mapping[str, str] = price.basis if price else {}
    operations = {c.name: f"{c.operation.op} {c.operation.numbers}" for c in cut_operators(data, format)}
    lines = tuple(
        ProfileLine(n, module_of(n, modules) if modules else n, operations.get(n, ""), us, predicted.get(n), basis.get(n, ""))
        for n, us in times.us.items()
    )
    whole = price.times.whole_us if price else None
    return Profile(name, format, times.runtime, machine.on, machine.how, times.threads, lines, times.other_us, times.whole_us, whole)
