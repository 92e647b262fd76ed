"""Arrays of an .npz become parts, and test data are never chosen on."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgelr.data import Data, Split, read_data
from edgelr.errors import BadInputError, EdgelrError

SHAPE = (1, 3, 8, 8)


def numbered(count: int, start: int = 0) -> Any:
    """Samples that tell their own number."""
    return np.broadcast_to(np.arange(start, start + count, dtype=np.float32)[:, None, None, None], (count, *SHAPE[1:])).copy()


def numbers(split: Split | None) -> list[int]:
    return [] if split is None else np.asarray(split.x)[:, 0, 0, 0].astype(int).tolist()


def saved(path: Path, packed: bool = False, **arrays: Any) -> str:
    (np.savez_compressed if packed else np.savez)(path / "set.npz", **arrays)
    return str(path / "set.npz")


@pytest.mark.parametrize("packed", [False, True])
def test_given_parts_stay_as_they_are_in_order(tmp_path: Path, packed: bool) -> None:
    y = np.arange(40) % 4
    spec = saved(tmp_path, packed, x_train=numbered(40), y_train=y, x_val=numbered(8, 100), y_val=y[:8], x_test=numbered(8, 200),
                 y_test=y[:8])
    data = read_data(spec, None, SHAPE, 0)
    assert (numbers(data.train), numbers(data.validation), numbers(data.test)) == (
        list(range(40)), list(range(100, 108)), list(range(200, 208)))
    assert data.train is not None and data.train.y is not None and data.train.y.tolist() == y.tolist() and data.name == "set"
    assert set(numbers(data.calibration)) <= set(range(40))


def test_validation_is_held_out_of_train_by_class_and_seed(tmp_path: Path) -> None:
    y = np.repeat(np.arange(4), [100, 60, 30, 10])  # sorted by class
    spec = saved(tmp_path, x_train=numbered(200), y_train=y, x_test=numbered(10, 900), y_test=y[:10])
    data, again, other = read_data(spec, None, SHAPE, 1), read_data(spec, None, SHAPE, 1), read_data(spec, None, SHAPE, 2)
    held = numbers(data.validation)
    assert held == numbers(again.validation) != numbers(other.validation)
    assert sorted(held + numbers(data.train)) == list(range(200))
    assert data.validation is not None and data.validation.y is not None
    assert np.abs(np.bincount(data.validation.y, minlength=4) - [10, 6, 3, 1]).max() <= 1
    assert not set(numbers(data.calibration)) & ({*held} | set(range(900, 910)))


def test_samples_keep_their_own_labels_through_every_cut(tmp_path: Path) -> None:
    y = np.random.default_rng(0).integers(0, 5, 100)
    data = read_data(saved(tmp_path, x=numbered(100), y=y), None, SHAPE, 3)
    for part in data.parts().values():
        assert part.y is not None and part.y.tolist() == y[numbers(part)].tolist()
    assert sorted(numbers(data.train) + numbers(data.validation) + numbers(data.test)) == list(range(100))
    assert set(numbers(data.calibration)) <= set(numbers(data.train))


def test_x_alone_is_unlabelled_and_divided_for_calibration_and_agreement(tmp_path: Path) -> None:
    data = read_data(saved(tmp_path, x=numbered(50)), None, SHAPE, 0)
    assert data.train is None and [len(p) for p in data.parts().values()] == [10, 10, 30]
    assert sorted(n for p in data.parts().values() for n in numbers(p)) == list(range(50))
    assert all(p.y is None for p in data.parts().values())
    few = read_data(saved(tmp_path, x=numbered(3)), None, SHAPE, 0)
    assert list(few.parts()) == ["calibration"]


def test_only_a_test_part_is_refused_and_only_validation_calibrates(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="only a test part"):
        read_data(saved(tmp_path, x_test=numbered(9), y_test=np.zeros(9, int)), None, SHAPE, 0)
    data = read_data(saved(tmp_path, x_val=numbered(9), x_test=numbered(9, 100)), None, SHAPE, 0)
    assert numbers(data.calibration) == list(range(9))


@pytest.mark.parametrize("first", [False, True])
def test_pixels_of_either_layout_are_normalised_by_the_recipe(tmp_path: Path, first: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    stored = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if first else pixels
    data = read_data(saved(tmp_path, x_val=stored), "cifar10", (1, 3, 32, 32), 0)
    assert data.validation is not None
    ((x, y),) = data.validation.batches(20)
    want = (pixels / 255 - [0.4914, 0.4822, 0.4465]) / [0.2470, 0.2435, 0.2616]
    np.testing.assert_allclose(x, want.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-5)
    assert y is None


def test_batches_are_torch_tensors_of_the_size_asked_for() -> None:
    split = Split(numbered(10), np.arange(10, dtype=np.uint8))
    shapes = [(tuple(x.shape), y.tolist()) for x, y in split.batches(4) if y is not None]
    assert shapes == [((4, 3, 8, 8), [0, 1, 2, 3]), ((4, 3, 8, 8), [4, 5, 6, 7]), ((2, 3, 8, 8), [8, 9])]
    x, y = next(split.take(np.array([7, 2])).batches(2))
    assert x.dtype == torch.float32 and y is not None and y.dtype == torch.int64 and y.tolist() == [7, 2] == x[:, 0, 0, 0].tolist()


NAN = numbered(6)
NAN[4, 1, 2, 3] = np.nan


@pytest.mark.parametrize(("arrays", "words"), [
    ({"x_val": NAN}, "sample 4 of validation"),
    ({"x_val": numbered(0)}, "no samples"),
    ({"x_val": numbered(4)[:, :2]}, "2x8x8, the network takes 3x8x8"),
    ({"x_val": numbered(4), "y_val": np.arange(3)}, "3 labels for 4 samples"),
    ({"x_val": numbered(4), "y_val": np.array([0, 1, -1, 0])}, "label -1 of sample 2"),
    ({"x_val": numbered(4), "y_val": np.eye(4)}, "argmax"),
    ({"x_val": numbered(4).astype(np.uint8)}, "--recipe"),
    ({"x_valid": numbered(4)}, "did you mean x_val?"),
    ({"y_val": np.arange(3)}, "without x_val"),
    ({"x": numbered(4), "x_val": numbered(4)}, "x and y alone"),
    ({"pictures": numbered(4)}, "other arrays in it: pictures"),
    ({"x": np.float32(3)}, "no sample axis"),
])
def test_each_fault_of_a_set_is_named(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as told:
        read_data(saved(tmp_path, **arrays), None, SHAPE, 0)
    assert words in str(told.value)


FUNCTION = """
import numpy as np
from edgelr.data import Data, Split

def mine():
    return Data(train=Split(np.ones((20, 3, 8, 8), "float64"), np.arange(20) % 2))

def other():
    return np.ones(3)
"""


def test_a_user_s_function_gives_data_that_are_completed_and_checked(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    data = read_data(f"{tmp_path}/mine.py:mine", None, SHAPE, 0)
    assert isinstance(data, Data) and [len(p) for p in data.parts().values()] == [18, 2, 18]
    for spec, shape, recipe in (("mine", (1, 3, 9, 9), None), ("other", SHAPE, None), ("mine", SHAPE, "raw"), ("nothing", SHAPE, None)):
        with pytest.raises(EdgelrError):
            read_data(f"{tmp_path}/mine.py:{spec}", recipe, shape, 0)
    with pytest.raises(BadInputError, match="no data at"):
        read_data("nowhere", None, SHAPE, 0)
