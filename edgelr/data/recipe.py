"""Recipes: how a stored sample becomes a model input. One TOML file each, read strictly."""
from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from edgelr.data.split import Array
from edgelr.data.steps import STEPS, Step
from edgelr.errors import BadInputError, UsageError

MAX_FILE_BYTES = 1_000_000
INPUTS = ("image", "audio", "array")
TOP_KEYS = ("about", "input", "channels", "sample_rate", "step")


@dataclass(frozen=True)
class Recipe:
    """``input``: what the stored samples are. Images have ``channels`` (3: RGB, 1: grey), sounds are brought to ``sample_rate`` in Hz."""

    name: str
    input: Literal["image", "audio", "array"]
    steps: tuple[Step, ...] = ()
    about: str = ""
    channels: int = 3
    sample_rate: int = 0


def recipes_folder() -> Path:
    """Where the recipes are: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "_calibration"
    return packaged if packaged.is_dir() else package.parent / "calibration"


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with edgelr."""
    return tuple(sorted(path.stem for path in recipes_folder().glob("*.toml")))


def load_recipe(name_or_path: str) -> Recipe:
    """A recipe by its name (``cifar10``) or the path of a file (``mine.toml``).

    Raises UsageError (no recipe of that name) and BadInputError (no such file, not TOML, an unknown or missing key, a value
    of the wrong kind).
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = recipes_folder() / f"{name_or_path}.toml"
        if name_or_path not in recipe_names():
            raise UsageError(f"no recipe {name_or_path!r}", f"there are {', '.join(recipe_names())}",
                             f"{_did_you_mean(name_or_path, recipe_names())}; or give a file of your own: mine.toml")
    if not path.is_file():
        raise BadInputError(f"no recipe file {path}", "there is no such file", "check the path; it is read from the current folder")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadInputError(f"{path.name} is too large for a recipe", f"the limit is {MAX_FILE_BYTES:,} bytes", "give a recipe file")
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInputError(f"{path.name} is not a TOML file", str(error)[:200], "compare it with docs/recipes.md") from error
    return parse_recipe(path.stem, table)


def parse_recipe(name: str, table: dict[str, Any]) -> Recipe:
    """A recipe from its parsed table. Raises BadInputError naming the key."""
    _check_keys(name, table, TOP_KEYS, ("input",))
    if table["input"] not in INPUTS:
        raise _bad(name, f"input is {table['input']!r}", f"one of {', '.join(INPUTS)}")
    channels, rate = table.get("channels", 3), table.get("sample_rate", 0)
    if channels not in (1, 3) or type(rate) is not int or rate < 0 or (table["input"] == "audio") != (rate > 0):
        raise _bad(name, f"channels {channels!r}, sample_rate {rate!r}", "channels is 1 or 3; sound needs a sample_rate in Hz, others none")
    steps = table.get("step", [])
    if not isinstance(steps, list) or not all(isinstance(s, dict) for s in steps):
        raise _bad(name, "step is not a list of tables", "write each step under [[step]]")
    return Recipe(name, table["input"], tuple(_step(name, s, rate) for s in steps), str(table.get("about", "")), channels, rate)


def apply(recipe: Recipe, sample: Array) -> Array:
    """One stored sample as a float32 model input, without batch: [C, H, W] for images and log-mel features.

    Images come as uint8 [H, W], [H, W, C] or [C, H, W]; sounds as [samples], real numbers or int16; arrays as they are.
    Raises BadInputError where a step can't take the sample.
    """
    if recipe.input == "image":
        sample = _hwc(sample, recipe.channels)
    elif recipe.input == "audio" and sample.dtype == np.int16:
        sample = sample.astype(np.float32) / 32768
    if sample.dtype.kind not in "fiub":
        raise BadInputError(f"samples are {sample.dtype}", "numbers are needed", "store them as uint8 or float32")
    for step in recipe.steps:
        sample = step(sample)
    return np.ascontiguousarray(sample, np.float32)


def _hwc(sample: Array, channels: int) -> Array:
    if sample.ndim == 2:
        sample = sample[:, :, None]
    if sample.ndim == 3 and sample.shape[2] != channels and sample.shape[0] == channels:
        sample = sample.transpose(1, 2, 0)
    if sample.ndim == 3 and sample.shape[2] == 1 < channels:
        sample = np.repeat(sample, channels, 2)
    if sample.ndim != 3 or sample.shape[2] != channels or sample.dtype != np.uint8:
        raise BadInputError(f"an image of {sample.dtype} {sample.shape} doesn't fit the recipe",
                            f"uint8 with {channels} channels is expected",
                            "give pixels from 0 to 255, [H, W, C] or [C, H, W]; for other arrays use the recipe raw")
    return sample


def _step(name: str, table: dict[str, Any], sample_rate: int) -> Step:
    kind = table.get("do")
    if kind not in STEPS:
        raise _bad(name, f"unknown step {kind!r}", _did_you_mean(str(kind), STEPS))
    hints = get_type_hints(STEPS[kind])
    fields = [f for f in dataclasses.fields(STEPS[kind]) if f.name != "sample_rate"]
    needed = [f.name for f in fields if f.default is dataclasses.MISSING]
    _check_keys(f"{name}, step {kind}", table, ["do", *(f.name for f in fields)], needed)
    values = {key: _value(f"{name}, step {kind}", key, value, hints[key]) for key, value in table.items() if key != "do"}
    if len(values.get("mean", ())) != len(values.get("std", ())):
        raise _bad(f"{name}, step {kind}", "mean and std differ in length", "one number a channel in each")
    if "sample_rate" in hints:
        if not sample_rate:
            raise _bad(name, f"{kind} is a step for sound", 'set input = "audio" and sample_rate')
        values["sample_rate"] = sample_rate
    made: Step = STEPS[kind](**values)
    return made


POSITIVE = ("shorter", "size", "divide", "std", "seconds", "window_ms", "hop_ms", "mels", "floor")


def _value(where: str, key: str, value: Any, hint: Any) -> Any:
    """``value`` as the field's type; strict but for whole numbers where reals are expected."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise _bad(where, f"{key} is {value!r}", f"one of {', '.join(get_args(hint))}")
        return value
    numbers = value if isinstance(value, list) else [value]
    whole = hint is int
    if (isinstance(value, list) != (get_origin(hint) is tuple) or not numbers
            or not all(type(v) is int or (type(v) is float and not whole and math.isfinite(v)) for v in numbers)):
        one = "a whole number" if whole else "a number"
        raise _bad(where, f"{key} is {value!r}", "a list of numbers is needed" if get_origin(hint) is tuple else f"{one} is needed")
    if key in POSITIVE and min(numbers) <= 0:
        raise _bad(where, f"{key} is {value!r}", "it must be above 0")
    return tuple(map(float, numbers)) if isinstance(value, list) else value


def _check_keys(where: str, table: dict[str, Any], known: Iterable[str], needed: Iterable[str]) -> None:
    known = list(known)
    unknown = [key for key in table if key not in known]
    if unknown:
        raise _bad(where, f"unknown key {unknown[0]!r}", _did_you_mean(unknown[0], known))
    missing = [key for key in needed if key not in table]
    if missing:
        raise _bad(where, f"{missing[0]} is missing", f"set {missing[0]}")


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _bad(where: str, why: str, try_: str) -> BadInputError:
    return BadInputError(f"recipe {where}: {why}", "recipes are read strictly, so that no typing error passes silently", try_)
