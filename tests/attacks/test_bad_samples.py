"""Samples that are no numbers, of several shapes, not finite, or tell nothing: an error or a warning that names part, sample and reason."""
from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from journey_sample import arrays, edgelr, network, write_inputs

from edgelr.data import Data, Split, checked, read_data
from edgelr.errors import BadInputError, Exit
from edgelr.models import check_inputs

SHAPE = (1, 1, 8, 8)
X = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)


def with_value(value: float, index: int = 7, dtype: Any = np.float32) -> np.ndarray:
    x = X.astype(dtype)
    x[index, 0, 1, 1] = value
    return x


def ragged(values: list[Any]) -> np.ndarray:
    made = np.empty(len(values), object)
    for i, value in enumerate(values):
        made[i] = value
    return made


NOT_NUMBERS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "ragged": ({"x_train": ragged([np.zeros((1, 8, 8 + i)) for i in range(3)])}, "x_train.npy in set.npz holds Python objects"),
    "labels as objects": ({"x_train": X, "y_train": ragged([0] * 40)}, "astype('int64')"),
    "text": ({"x_train": np.array([["a", "b"]] * 20)}, "x_train: samples are text"),
    "complex": ({"x_calib": X.astype(np.complex64)}, "x_calib: samples are complex64"),
    "truth values": ({"x_train": X > 0}, "x_train: samples are bool"),
    "whole numbers": ({"x_train": X.astype(np.int64)}, "--recipe"),
    "records": ({"x": np.zeros((20, 8), [("a", "f4"), ("b", "i4")])}, "set.npz: x: samples are"),
    "dates": ({"x": np.zeros((20, 8), "M8[s]")}, "samples are datetime64"),
    "empty calibration": ({"x_train": X, "x_calib": X[:0]}, "x_calib: there are no samples"),
}


@pytest.mark.parametrize("case", NOT_NUMBERS)
def test_arrays_of_no_use_are_refused_by_name_and_type(tmp_path: Path, case: str) -> None:
    made, words = NOT_NUMBERS[case]
    np.savez(tmp_path / "set.npz", **made)
    with pytest.raises(BadInputError) as told:
        read_data(str(tmp_path / "set.npz"), None, None, 0)
    assert words in str(told.value) and told.value.why and told.value.try_


@pytest.mark.parametrize(("made", "words"), [
    ({"x_train": with_value(np.nan)}, "sample 7 of train holds NaN"),
    ({"x_train": X, "x_val": with_value(-np.inf, 5)}, "sample 5 of validation holds infinity"),
    ({"x_train": X, "x_test": with_value(np.nan, 39)}, "sample 39 of test holds NaN"),
    ({"x_train": X, "x_calib": with_value(np.inf, 0)}, "sample 0 of calibration holds infinity"),
    ({"x": with_value(np.nan, 33)}, "sample 33 of x holds NaN"),  # its number in the file, not in the part that it falls into
    ({"x": with_value(1e300, 3, np.float64)}, "sample 3 of x holds infinity"),  # beyond float32
])
def test_what_is_not_finite_is_named_by_part_and_index(tmp_path: Path, made: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "set.npz", **made)
    with pytest.raises(BadInputError, match=words):
        read_data(str(tmp_path / "set.npz"), None, SHAPE, 0)


def test_its_number_is_that_in_what_was_given_also_after_every_cut() -> None:
    cut = Split(with_value(np.nan)).take(np.array([3, 7, 9])).take(np.array([1, 2]))
    with pytest.raises(BadInputError, match="sample 7 holds NaN"):
        list(cut.batches(2))


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_real_numbers_become_float32(tmp_path: Path, dtype: Any) -> None:
    np.savez(tmp_path / "set.npz", x_val=X.astype(dtype))
    data = read_data(str(tmp_path / "set.npz"), None, SHAPE, 0)
    assert data.validation is not None
    ((x, _),) = data.validation.batches(64)
    assert x.dtype == torch.float32 and np.allclose(x, X, atol=1e-2)


class Lazy:
    """What a user may write: ``read(i)`` gives sample i; slices only where ``slices``."""

    def __init__(self, read: Callable[[int], Any], slices: bool = True) -> None:
        self.read, self.slices = read, slices

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: Any) -> Any:
        if not self.slices or isinstance(index, int | np.integer):
            return self.read(int(index))
        return np.stack([self.read(int(i)) for i in np.arange(40)[index]])


def at_7(bad: Any) -> Callable[[int], Any]:
    return lambda i: bad if i == 7 else X[i]


def fails(i: int) -> Any:
    if i == 7:
        raise KeyError("no such record")
    return X[i]


LAZY: dict[str, tuple[Callable[[int], Any], str]] = {
    "another shape": (at_7(np.zeros((1, 8, 9), np.float32)), "sample 7 of train has another shape"),
    "NaN": (at_7(with_value(np.nan)[7]), "sample 7 of train holds NaN"),
    "infinity": (at_7(with_value(np.inf)[7]), "sample 7 of train holds infinity"),
    "nothing": (at_7(None), "sample 7 of train is a NoneType"),
    "its code fails": (fails, "sample 7 of train can't be read"),
    "text": (at_7("abc"), "sample 7 of train is a str"),
    "with its label": (lambda i: (X[i], 3), "sample 0 of train is a tuple"),
    "objects": (at_7(X[7].astype(object)), "sample 7 of train is Python objects"),
    "whole numbers": (lambda i: X[i].astype(int), "sample 0 of train is int64"),
    "complex": (at_7(X[7].astype(np.complex64)), "sample 7 of train is complex64"),
}


@pytest.mark.parametrize("slices", [True, False])
@pytest.mark.parametrize("case", LAZY)
def test_a_holder_of_the_user_s_own_that_gives_a_bad_sample_is_told_which(case: str, slices: bool) -> None:
    read, words = LAZY[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        data = Data(train=Split(Lazy(read, slices)))
        with pytest.raises(BadInputError, match=words) as told:
            for part in checked(data, None, 0).parts().values():
                for _ in part.batches(16):
                    pass
    assert told.value.why and told.value.try_
    assert case != "its code fails" or "KeyError: 'no such record' (test_bad_samples.py, line" in told.value.why


@pytest.mark.parametrize("read", [lambda i: X[i], lambda i: torch.from_numpy(X[i]), lambda i: X[i].astype(np.float64)])
@pytest.mark.parametrize("slices", [True, False])
def test_a_holder_of_good_samples_is_read_in_order(read: Any, slices: bool) -> None:
    split = Split(Lazy(read, slices)).take(np.array([5, 3, 39]))
    ((x, _),) = split.batches(8)
    assert x.dtype == torch.float32 and torch.equal(x, torch.from_numpy(X[[5, 3, 39]]))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Data(train=X), "train is a ndarray, not a Split"),
    (lambda: Split(ragged([X[0], X[1][:, :4]])), r"sample 0 is (1, 8, 8), sample 1 is (1, 4, 8)"),
    (lambda: Split(torch.zeros(4, 3, dtype=torch.int32)), "int32"),
    (lambda: Split(list(X)), "numpy.stack"),
    (lambda: checked(X, None, 0), "a ndarray is no edgelr.data.Data"),
    (lambda: checked({"train": X}, None, 0), "a dict is no edgelr.data.Data"),
    (lambda: checked(Data(), None, 0), "there are no data"),
    (lambda: checked(Data(train=Split(with_value(np.nan))), None, 0), "sample 7 of train holds NaN"),
    (lambda: checked(Data(train=Split(X), test=Split(X[:, :, :6])), SHAPE, 0), "samples of test have the wrong shape"),
])
def test_data_made_in_python_are_refused_with_their_reason(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(BadInputError) as told:
        make()
    assert words in str(told.value)


def test_half_precision_tensors_are_read() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        ((x, _),) = Split(torch.from_numpy(X).to(dtype)).batches(64)
        assert x.dtype == torch.float32 and torch.allclose(x, torch.from_numpy(X), atol=0.05)


@pytest.mark.parametrize(("samples", "words"), [
    (torch.zeros(64, 1, 8, 8), "all 64 calibration samples hold nothing but 0"),
    (torch.full((64, 1, 8, 8), 1e-40), "nothing but values within 1e-40 of 0"),
    (torch.full((64, 1, 8, 8), 3.0), "all 64 calibration samples are the same"),
    (torch.from_numpy(X[:1]).repeat(64, 1, 1, 1), "all 64 calibration samples are the same"),
    (torch.from_numpy(X[:1]), "only 1 calibration sample"),
])
def test_samples_that_tell_no_ranges_are_warned_of(samples: torch.Tensor, words: str) -> None:
    for batches in ([samples], list(samples.split(16))):
        (told,) = [w.text for w in check_inputs(network(), batches) if w.kind == "constant"]
        assert words in told and "ranges" in told and "64 samples or more" in told


def test_samples_of_which_one_differs_are_not() -> None:
    samples = torch.zeros(64, 1, 8, 8)
    samples[63, 0, 0, 0] = 1
    assert not [w for w in check_inputs(network(), list(samples.split(16))) if w.kind == "constant"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def quantize(inputs: Path, data: str, out: Path) -> Any:
    return edgelr("quantize", f"{inputs}/net.py:tiny", "--weights", f"{inputs}/w.safetensors", "--data", data, "-q", "-o", str(out),
                  "--format", "onnx", "--calibration-samples", "64")


SOURCE = """
import numpy as np
from edgelr.data import Data, Split


class Mine:
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return np.zeros((1, 8, 9 if i == 7 else 8), "float32")


def ragged():
    return Data(train=Split(Mine()))
"""


def test_the_command_line_tells_the_same(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOURCE, "utf-8")
    done = quantize(inputs, f"{tmp_path}/mine.py:ragged", tmp_path / "out")
    assert done.code == Exit.BAD_INPUT and "sample 7 of train has another shape" in done.err and "1x8x9" in done.err
    assert not (tmp_path / "out").exists()
    np.savez(tmp_path / "one.npz", **{**arrays(), "x_calib": arrays()["x_train"][:1]})
    done = quantize(inputs, f"{tmp_path}/one.npz", tmp_path / "out")
    assert done.code == 0 and "warning: there is only 1 calibration sample" in " ".join(done.err.split())
