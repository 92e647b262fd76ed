"""Data from where the user says they are: an .npz, a folder, or a function."""
from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import numpy as np

from edgelr.data.folder import read_folder
from edgelr.data.given import check_finite
from edgelr.data.npz import read_arrays
from edgelr.data.parts import complete, divide
from edgelr.data.prepared import Prepared
from edgelr.data.recipe import Recipe, load_recipe, recipe_names
from edgelr.data.split import Array, Data, Samples, Split
from edgelr.errors import BadInputError, UsageError
from edgelr.user_code import call_named

PARTS = {"train": "train", "val": "validation", "test": "test", "calib": "calibration"}
NAMES = (*(f"{axis}_{part}" for part in PARTS for axis in "xy"), "x", "y")
CHUNK_BYTES = 16_000_000


def read_data(spec: str, recipe: str | None, input_shape: tuple[int, ...] | None, seed: int) -> Data:
    """The data that ``spec`` names, with every part that choosing needs.

    ``spec``: an ``.npz`` with x_train, y_train, x_val, y_val, x_test, y_test (also x_calib; any part may be absent), or x alone
    (unlabelled), or x and y; a folder of files (with a recipe); or ``FILE.py:FUNCTION`` that returns a ``Data``. ``recipe``: a name or
    a ``.toml`` file. Other arrays in an ``.npz`` are passed over, unless their names look like a typing error.
    ``input_shape`` has the batch first, as ``--input`` does: (1, 3, 224, 224). Missing parts are drawn by ``seed`` (see ``complete`` and
    ``divide``), never from test.

    Raises UsageError (a recipe missing, unknown or of no use) and BadInputError (missing, damaged, unsafe, empty, mis-shaped, NaN with
    the sample's index, labels of another number or out of range).
    """
    path = Path(spec)
    chosen = load_recipe(recipe) if recipe else None
    if path.is_dir():
        if chosen is None:
            raise UsageError(f"{spec} is a folder and needs a recipe", "it tells how files become inputs",
                             f"--recipe with one of {', '.join(recipe_names())}, or a .toml file of your own")
        parts, classes = read_folder(path, chosen)
        data = divide(parts[""], seed) if "" in parts else _data(parts)
        data = dataclasses.replace(data, classes=classes, name=path.resolve().name)
    elif path.suffix == ".npz":
        data = _from_npz(path, chosen, input_shape, seed)
    elif ":" in spec:
        data = _from_function(spec, chosen)
    else:
        raise BadInputError(f"no data at {spec}", "it is neither a folder, an .npz file nor FILE.py:FUNCTION", "check the path")
    return checked(data, input_shape, seed)


def checked(data: Any, input_shape: tuple[int, ...] | None, seed: int) -> Data:
    """Data with every part that choosing needs (``complete``), looked through. ``input_shape`` has the batch first.

    Raises BadInputError: no Data, wrong shape, NaN or infinity in an array that is at hand (with part and index), only a test part.
    """
    if not isinstance(data, Data):
        raise BadInputError(f"a {type(data).__name__} is no edgelr.data.Data", "the data are told by their parts",
                            "give Data(train=Split(x, y), …), or Data(calibration=Split(x)) for samples without labels")
    for name, part in data.parts().items():
        _check_shape(name, part, input_shape)
        _check_finite(part)
    return complete(data, seed)


def _from_function(spec: str, recipe: Recipe | None) -> Data:
    if recipe is not None:
        raise UsageError("a recipe is for files, not for a function", f"{spec} returns finished inputs", "leave --recipe out")
    made = call_named(spec)
    if not isinstance(made, Data):
        raise BadInputError(f"{spec} returned a {type(made).__name__}", "an edgelr.data.Data is needed",
                            "return Data(train=Split(x, y), …)")
    return made


def _from_npz(path: Path, recipe: Recipe | None, input_shape: tuple[int, ...] | None, seed: int) -> Data:
    if not path.is_file():
        raise BadInputError(f"no data file {path}", "there is no such file", "check the path; it is read from the current folder")
    arrays, others = read_arrays(path, NAMES)
    for name in others:
        near = difflib.get_close_matches(name, NAMES, 1, 0.75)
        if near:
            raise BadInputError(f"{path.name}: {name} is not a name that is read", f"read are {', '.join(NAMES)}",
                                f"did you mean {near[0]}?")
    whole = [n for n in arrays if n in ("x", "y")]
    if not arrays or 0 < len(whole) < len(arrays):
        raise BadInputError(f"{path.name} holds {', '.join(arrays) or 'none of the arrays that are read'}",
                            f"other arrays in it: {', '.join(others[:8]) or 'none'}",
                            "give x_train, y_train, x_val, y_val, x_test, y_test; or x and y alone; or read it with FILE.py:FUNCTION")
    if whole:
        data = divide(_split(path, arrays, "", recipe, input_shape), seed)
    else:
        data = _data({part: _split(path, arrays, f"_{short}", recipe, input_shape) for short, part in PARTS.items()
                      if f"x_{short}" in arrays or f"y_{short}" in arrays})
    return dataclasses.replace(data, name=path.stem)


def _data(parts: dict[str, Split]) -> Data:
    return Data(parts.get("train"), parts.get("validation"), parts.get("test"), parts.get("calibration"))


def _split(path: Path, arrays: dict[str, Array], end: str, recipe: Recipe | None, input_shape: tuple[int, ...] | None) -> Split:
    if f"x{end}" not in arrays:
        raise BadInputError(f"{path.name} has y{end} without x{end}", "labels need their samples", f"add x{end}")
    x = arrays[f"x{end}"]
    try:
        split = Split(_inputs(f"x{end}", x, recipe, input_shape), arrays.get(f"y{end}"), PARTS.get(end[1:], "x"))
    except BadInputError as error:
        both = f"x{end}, y{end}" if f"y{end}" in arrays else f"x{end}"
        raise BadInputError(f"{path.name}: {both}: {error.what}", error.why, error.try_) from error
    if not end:  # before it is divided: the index is that in the file
        _check_finite(split)
    return split


def _inputs(name: str, x: Array, recipe: Recipe | None, input_shape: tuple[int, ...] | None) -> Samples:
    if recipe is None or x.ndim == 0 or len(x) == 0 or (recipe.input == "array" and not recipe.steps and x.dtype.kind == "f"):
        return x
    if recipe.input == "image" and x.ndim == 4 and recipe.channels == x.shape[1] == x.shape[3]:
        x = x.transpose(0, 2, 3, 1)  # two axes could be the channels: the network's layout decides, channels first
    return Prepared(x.__getitem__, lambda index: f"{name}[{index}]", len(x), recipe)


def _check_shape(name: str, part: Split, input_shape: tuple[int, ...] | None) -> None:
    found = part.sample_shape
    if 0 in found or (input_shape is not None and found != tuple(input_shape[1:])):
        want = "x".join(map(str, input_shape[1:])) if input_shape else "no axis of length 0"
        raise BadInputError(f"samples of {name} have the wrong shape", f"they give {'x'.join(map(str, found))}, the network takes {want}",
                            "name the recipe that the network was trained with (--recipe), or the right --input")


def _check_finite(part: Split) -> None:
    """Arrays that are at hand are looked through now; files, and what a user's object reads, are when they are read."""
    if not isinstance(part.x, np.ndarray):
        return
    size = max(1, CHUNK_BYTES // max(1, part.x[:1].nbytes))
    for start in range(0, len(part), size):
        for at in np.flatnonzero(~np.isfinite(part.x[start: start + size]).reshape(min(size, len(part) - start), -1).all(1))[:1]:
            check_finite(part.x[start + at], part.name(start + int(at)))
