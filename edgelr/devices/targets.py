"""Targets: what a device is, read from ``targets/NAME/target.toml``. Adding a board is adding a folder."""
from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from edgelr.errors import BadInputError, UsageError
from edgelr.vocabulary import Numbers

Runtime = Literal["litert", "onnxruntime"]
NumberFormat = Literal["w8a8"]
Feature = Literal["dotprod", "fp16"]

# The wheel carries the folder inside the package; a checkout has it at its root.
PLACES = (Path(__file__).parents[1] / "_targets", Path(__file__).parents[2] / "targets")

_OPTIONAL = frozenset({"facts", "weight_bits", "packages", "numbers", "core", "clock_ghz", "features", "kernels"})


@dataclass(frozen=True)
class Fact:
    """One thing known of a device, and where it comes from."""

    text: str
    source: str


@dataclass(frozen=True)
class Target:
    """A device, its runtimes, its number format, and the step of its int8 kernels on which ranks are chosen, for each runtime.

    ``weight_bits`` is 7 for x86 processors without VNNI. ``packages``: which package a runtime is there, where it isn't the usual one.
    ``numbers`` are the formats that a file may compute in there. ``core`` is the core that tables are of (a phone's: the one its large
    cluster has) at ``clock_ghz``; ``kernels`` is the core whose kernels were counted for the shipped tables, where it isn't ``core``
    itself. ``features`` are what the kernels choose by: "dotprod", "fp16".
    """

    name: str
    device: str
    runtimes: tuple[Runtime, ...]
    threads: int
    rank_steps: Mapping[Runtime, int] = field(hash=False)
    number_format: NumberFormat = "w8a8"
    weight_bits: int = 8
    packages: Mapping[Runtime, str] = field(default_factory=dict, hash=False)
    facts: tuple[Fact, ...] = ()
    numbers: tuple[Numbers, ...] = get_args(Numbers)
    core: str = ""
    clock_ghz: float = 0.0
    features: tuple[Feature, ...] = ()
    kernels: str = ""

    @property
    def weight_max(self) -> int:
        """The largest integer weight: 127, or 63 where the processor's kernels add products in 16 bits (``weight_bits`` 7)."""
        return (1 << (self.weight_bits - 1)) - 1

    def dynamic_refused(self, runtime: str) -> str:
        """Why a runtime of this target can't have the dynamic form; "" where it can."""
        package = self.packages.get(runtime, "")  # type: ignore[call-overload]
        if package.startswith("tflite-runtime"):
            return f"{package} computes dynamic-range files without an error and wrongly (measured: as far off as the outputs are large)"
        return ""


def list_targets() -> tuple[str, ...]:
    """The names of all targets that are found, sorted."""
    return tuple(sorted({file.parent.name for place in PLACES for file in place.glob("*/target.toml")}))


def load_target(name: str | Path) -> Target:
    """Read a target by its name (``host``, ``host@local``) or by the path of its folder.

    Raises ``UsageError`` for an unknown target, ``BadInputError`` for a target file that can't be used.
    """
    return _parse(_find(str(name)))


def _find(name: str) -> Path:
    folder, at, device = name.partition("@")
    if at and (folder, device) != ("host", "local"):
        raise UsageError(f"'{name}' can't be attached.", f"only this machine can be, not '{device}'.", "use host@local or host.")
    for place in PLACES:
        if folder in list_targets() and (place / folder / "target.toml").is_file():
            return place / folder / "target.toml"
    path = Path(folder)
    if path.name == "target.toml" and path.is_file():
        return path
    if (path / "target.toml").is_file():
        return path / "target.toml"
    known = list_targets()
    nearest = get_close_matches(folder, known, 1)
    try_ = f"did you mean '{nearest[0]}'?" if nearest else "name one of these, or give the path of a folder that holds a target.toml."
    raise UsageError(f"Unknown target '{name}'.", f"there is: {', '.join(known) or 'none'}.", try_)


def _parse(file: Path) -> Target:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError(f"The target file {file} can't be read.", str(error)) from error
    _check_keys(file, "", table, {f.name for f in fields(Target)}, optional=_OPTIONAL)
    runtimes, steps = table["runtimes"], table["rank_steps"]
    known = get_args(Runtime)
    _require(file, "name", isinstance(table["name"], str) and table["name"] != "", "a text")
    _require(file, "device", isinstance(table["device"], str), "a text")
    _require(file, "runtimes", _is_some_of(runtimes, known), f"a list out of {known}")
    _require(file, "threads", _is_count(table["threads"]), "a whole number from 1")
    _require(file, "number_format", table["number_format"] in get_args(NumberFormat), f"one of {get_args(NumberFormat)}")
    _require(file, "weight_bits", table.get("weight_bits", 8) in (7, 8), "7 or 8")
    packages = table.get("packages", {})
    named = isinstance(packages, dict) and set(packages) <= set(runtimes) and all(isinstance(p, str) for p in packages.values())
    _require(file, "packages", named, "a table of texts, by runtime")
    _require(file, "rank_steps", isinstance(steps, dict) and all(_is_count(s) for s in steps.values()), "a table of whole numbers from 1")
    _check_keys(file, "rank_steps", steps, set(runtimes))
    numbers, features = table.get("numbers", list(get_args(Numbers))), table.get("features", [])
    _require(file, "numbers", _is_some_of(numbers, get_args(Numbers)), f"a list out of {get_args(Numbers)}")
    _require(file, "features", features == [] or _is_some_of(features, get_args(Feature)), f"a list out of {get_args(Feature)}")
    for key in ("core", "kernels"):
        _require(file, key, isinstance(table.get(key, ""), str), "a text")
    clock = table.get("clock_ghz", 0.0)
    _require(file, "clock_ghz", isinstance(clock, float) and 0.0 <= clock < 10.0, "gigahertz, as 1.5")
    facts = table.get("facts", [])
    _require(file, "facts", isinstance(facts, list) and all(isinstance(f, dict) for f in facts), "a list of tables")
    for fact in facts:
        _check_keys(file, "facts", fact, {"text", "source"})
        _require(file, "facts", all(isinstance(v, str) and v for v in fact.values()), "texts, each with its source")
    read = {"runtimes": tuple(runtimes), "numbers": tuple(numbers), "features": tuple(features), "facts": tuple(Fact(**f) for f in facts)}
    return Target(**{**table, **read})


def _is_some_of(value: object, known: tuple[str, ...]) -> bool:
    return isinstance(value, list) and bool(value) and all(v in known for v in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _require(file: Path, key: str, holds: bool, wanted: str) -> None:
    if not holds:
        raise BadInputError(f"The target file {file} can't be used.", f"'{key}' must be {wanted}.")


def _check_keys(file: Path, where: str, table: Mapping[str, Any], known: set[str], optional: frozenset[str] = frozenset()) -> None:
    place = f" in '{where}'" if where else ""
    for key in table:
        if key not in known:
            nearest = get_close_matches(key, known, 1)
            try_ = f"did you mean '{nearest[0]}'?" if nearest else f"known are: {', '.join(sorted(known))}."
            raise BadInputError(f"The target file {file} can't be used.", f"unknown key '{key}'{place}.", try_)
    for key in sorted(known - optional - set(table)):
        raise BadInputError(f"The target file {file} can't be used.", f"'{key}' is missing{place}.")
