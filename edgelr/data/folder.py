"""A folder of samples: parts, classes, files."""
from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from edgelr.data import image
from edgelr.data.npz import read_array
from edgelr.data.prepared import Prepared
from edgelr.data.recipe import Recipe
from edgelr.data.sound import read_sound
from edgelr.data.split import Array, Split
from edgelr.errors import BadInputError

PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test", "calibration": "calibration"}
SUFFIXES = {"image": image.SUFFIXES, "audio": (".wav",), "array": (".npy",)}


def read_folder(root: Path, recipe: Recipe) -> tuple[dict[str, Split], tuple[str, ...]]:
    """The parts of ``root`` and the names of its classes. A folder without train/, val/, test/ is one part, "".

    Within a part, each subfolder is a class; without subfolders the samples are unlabelled. Classes are numbered in the order of their
    names, by number where all names are whole numbers. Samples are read when they are needed; files of other kinds are passed over.
    Raises BadInputError: no samples, samples beside class folders, a class missing from one part, a class without samples.
    """
    named = {PARTS[p.name]: p for p in _folders(root) if p.name in PARTS}
    parts = named or {"": root}
    classes = _in_order({c.name for part in parts.values() for c in _folders(part)})
    return {name: _part(folder, classes, recipe) for name, folder in parts.items()}, classes


def _part(folder: Path, classes: tuple[str, ...], recipe: Recipe) -> Split:
    loose = _samples(folder, recipe)
    takes = f"the recipe {recipe.name} takes {', '.join(SUFFIXES[recipe.input])} files"
    if not _folders(folder):
        if not loose:
            raise BadInputError(f"no samples in {folder}", takes,
                                "name the folder that holds them, or another recipe")
        return Split(_prepared(folder, loose, recipe))
    if loose:
        raise BadInputError(f"{loose[0].name} lies beside class folders in {folder}", "its class is unknown", "move it into a class folder")
    files, labels = [], []
    for label, name in enumerate(classes):
        inside = _samples(folder / name, recipe) if (folder / name).is_dir() else []
        if not inside:
            raise BadInputError(f"no samples of class {name} in {folder}", takes,
                                "each part needs samples of each class, and every subfolder is taken for a class")
        files += inside
        labels += [label] * len(inside)
    return Split(_prepared(folder, files, recipe), np.array(labels))


def _prepared(folder: Path, files: list[Path], recipe: Recipe) -> Prepared:
    def name(index: int) -> str:
        return f"{files[index].relative_to(folder)} (file {index + 1} of {len(files)})"

    return Prepared(partial(_read, files, recipe), name, len(files), recipe)


def _read(files: list[Path], recipe: Recipe, index: int) -> Array:
    if recipe.input == "image":
        return image.read_image(files[index], recipe.channels)
    return read_sound(files[index], recipe.sample_rate) if recipe.input == "audio" else read_array(files[index])


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _samples(folder: Path, recipe: Recipe) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES[recipe.input] and p.is_file() and not p.name.startswith("."))


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=int) if all(n.isdecimal() for n in names) else sorted(names))
