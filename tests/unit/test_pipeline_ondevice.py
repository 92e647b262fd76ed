"""Outputs on a device against this machine's: bit for bit, in steps of the grid, or as a share; told only where they are strange."""
from __future__ import annotations

import numpy as np

from edgelr.pipeline.ondevice import compared, strange
from edgelr.pipeline.profile import module_of


def test_equal_integers_are_equal_bit_for_bit() -> None:
    own = np.arange(-10, 10, dtype=np.int8)
    there = compared(own, own.copy(), "a board", 4, None)
    assert there.equal == 1 and there.worst == 0 and "bit for bit" in str(there)
    assert strange({"tflite": there}) == []


def test_a_step_is_told_and_two_are_strange() -> None:
    own = np.zeros(10, np.int8)
    other = own.copy()
    other[3] = 1
    one = compared(own, other, "a board", 1, None)
    assert one.equal == 0.9 and one.worst == 1 and strange({"tflite": one}) == []
    other[3] = -2
    (told,) = strange({"tflite": compared(own, other, "a board", 1, None)})
    assert "at most 2 steps" in told and "model.int8.tflite" in told


def test_int8_extremes_do_not_wrap() -> None:
    assert compared(np.array([-128], np.int8), np.array([127], np.int8), "a board", 1, None).worst == 255


def test_floats_on_a_grid_are_counted_in_its_steps_and_others_as_a_share() -> None:
    own = np.array([0.0, 0.5, 1.0], np.float32)
    there = own + np.array([0, 0.25, 0], np.float32)
    assert compared(own, there, "a board", 1, 0.25).worst == 1
    share = compared(own, there, "a board", 1, None)
    assert share.worst == 0.25 and strange({"onnx": share})


def test_an_operation_belongs_to_the_longest_module_that_its_name_begins_with() -> None:
    modules = frozenset({"layer1", "layer1.0", "layer1.0.conv1", "fc"})
    assert module_of("layer1.0.conv1.0/pad", modules) == "layer1.0.conv1"
    assert module_of("layer1.0/add", modules) == "layer1.0"
    assert module_of("fc#1", modules) == "fc" and module_of("flatten", modules) == ""
