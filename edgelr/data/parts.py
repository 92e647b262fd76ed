"""Which samples are for what. Nothing that chooses anything ever sees the test part."""
from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np

from edgelr.data.split import Array, Data, Split
from edgelr.errors import BadInputError

HELD_OUT = 0.1  # of train, where there is no validation part
MAX_HELD_OUT = 5000
MAX_CALIBRATION = 1024  # of train or validation, where there is no calibration part
UNDIVIDED = (0.6, 0.2, 0.2)  # train (or calibration, where unlabelled), validation, test
TOO_FEW = 5  # an unlabelled set of fewer samples is not divided: all of it calibrates


def divide(split: Split, seed: int) -> Data:
    """One undivided set: 60 % train, 20 % validation, 20 % test, by seed and class; without labels the 60 % are for calibration."""
    if split.y is None and len(split) < TOO_FEW:
        return Data(calibration=split)
    order = _shuffled(split, seed)
    held = round(len(split) * UNDIVIDED[1]), round(len(split) * UNDIVIDED[2])
    validation, test, rest = np.split(order, [held[0], sum(held)])
    if not (len(validation) and len(test) and len(rest)):
        raise BadInputError(f"{len(split)} labelled samples are too few to divide", "each of train, validation and test needs one",
                            "give more, or the parts themselves (x_train, x_val, …)")
    first, taken = split.take(np.sort(rest)), (split.take(np.sort(validation)), split.take(np.sort(test)))
    return Data(None if split.y is None else first, *taken, calibration=first if split.y is None else None)


def complete(data: Data, seed: int) -> Data:
    """Add the parts that are missing: validation out of train (a tenth, at most 5,000), calibration out of train, else validation.

    Drawn by seed, each class in its proportion. Never from test. Raises BadInputError where only a test part is there.
    """
    if data.train is None and data.validation is None and data.calibration is None:
        raise BadInputError("there is only a test part" if data.test else "there are no data",
                            "choosing on test data would make its score worthless" if data.test else "no part of them is given",
                            "add x_train or x_val; or name the arrays x and y, and they are divided")
    if data.validation is None and data.train is not None and len(data.train) > 1:
        order = _shuffled(data.train, seed)
        count = max(1, min(MAX_HELD_OUT, round(HELD_OUT * len(order))))
        held, kept = np.sort(order[:count]), np.sort(order[count:])
        data = dataclasses.replace(data, train=data.train.take(kept), validation=data.train.take(held))
    if data.calibration is None:
        source = cast(Split, data.train or data.validation)
        order = _shuffled(source, seed + 1)[:MAX_CALIBRATION]
        data = dataclasses.replace(data, calibration=source.take(np.sort(order)))
    return data


def _shuffled(split: Split, seed: int) -> Array:
    """All indices in an order of which every beginning has each class in its proportion, as nearly as whole numbers allow."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(split))
    if split.y is None:
        return order
    labels = split.y[order]
    place = np.empty(len(order))
    for label in np.unique(labels):
        (at,) = np.nonzero(labels == label)
        place[at] = (np.arange(len(at)) + draw.random()) / len(at)
    return np.asarray(order[np.argsort(place, kind="stable")])
