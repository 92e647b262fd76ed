"""Comparisons say how alike two outputs are, and the gate lets pass what it should."""
from __future__ import annotations

from math import inf

import numpy as np
import pytest

from edgelr.errors import Exit, GateError
from edgelr.export.verify import Agreement, compare, gate

RNG = np.random.default_rng(0)
STEP = 0.25
LOGITS = (RNG.integers(-100, 100, (400, 10)) * STEP).astype(np.float32)
LOGITS[np.arange(400), RNG.integers(0, 10, 400)] = 120 * STEP  # a clear winner each


def decided_otherwise(samples: int, n: int) -> np.ndarray:
    changed = LOGITS[:samples].copy()
    changed[:n] = np.roll(changed[:n], 1, axis=1)
    return changed


def test_equal_outputs_agree_wholly() -> None:
    assert compare(LOGITS, LOGITS.copy(), STEP) == Agreement(400, 1.0, 1.0, 1.0, 0.0, inf)


def test_single_steps_are_counted() -> None:
    got = LOGITS.copy()
    got[3, 7] += STEP
    got[5, 1] -= 3 * STEP
    found = compare(LOGITS, got, STEP)
    assert found.equal_fraction == pytest.approx(1 - 2 / 4000) and found.max_lsb == 3
    assert found.sqnr_db == pytest.approx(10 * np.log10((LOGITS.astype(float) ** 2).sum() / (10 * STEP**2)))


def test_a_class_is_the_largest_value_and_a_map_has_one_at_each_place() -> None:
    reference = np.zeros((2, 3, 2, 2), np.float32)
    reference[:, 1] = 10
    got = reference.copy()
    got[0, 2, 0, 0] = 20
    found = compare(reference, got, STEP)
    assert found.top1_agreement == found.clear_agreement == 7 / 8
    assert found.samples == 2


def test_a_near_tie_may_go_either_way_but_is_told() -> None:
    reference = np.array([[10.0, 10.0 - 2 * STEP, 0.0, 0.0, 0.0]])
    got = np.array([[10.0 - STEP, 10.0, 0.0, 0.0, 0.0]])
    found = compare(reference, got, STEP)
    assert (found.top1_agreement, found.clear_agreement) == (0.0, 1.0)
    beyond = np.array([[10.0, 10.0 - 3 * STEP, 0.0, 0.0, 0.0]])
    assert compare(beyond, got, STEP).clear_agreement == 0.0


def close(step: float) -> np.ndarray:
    """Float outputs whose best class is 0 to 20 of the grid's steps before the next."""
    logits = RNG.normal(0, 50, (400, 10)) * step
    best = logits.argmax(1)
    logits[np.arange(400), best] = np.sort(logits, 1)[:, -2] + RNG.uniform(0, 20, 400) * step
    return logits


def test_a_tie_is_as_near_as_what_values_differ_by() -> None:
    """A recurrent network's rounding spreads over its steps: a .tflite of an LSTM had 32 dB, and 5 of 256 digits decided otherwise."""
    reference = close(STEP)
    got = reference + RNG.normal(0, 1.9 * STEP, reference.shape)
    found = compare(reference, got, STEP)
    assert found.top1_agreement < 0.96 and found.clear_agreement >= 0.995
    gate(found, "tflite")


def test_one_wrong_class_doesn_t_make_decisions_undecided() -> None:
    reference = close(STEP)
    got = reference + RNG.integers(-1, 2, reference.shape) * STEP
    got[:, 4] += 8 * STEP
    found = compare(reference, got, STEP)
    assert found.sqnr_db > 15
    with pytest.raises(GateError, match="disagrees"):
        gate(found, "tflite")


@pytest.mark.parametrize("got", [LOGITS[:10], LOGITS[:, :5], np.full_like(LOGITS, np.nan), np.full_like(LOGITS, np.inf)])
def test_what_can_t_be_compared_is_refused(got: np.ndarray) -> None:
    with pytest.raises(GateError):
        compare(LOGITS, got, STEP)
    with pytest.raises(GateError):
        compare(LOGITS[:0], LOGITS[:0], STEP)


def test_an_onnx_must_be_equal_bit_for_bit() -> None:
    gate(compare(LOGITS, LOGITS, STEP), "onnx")
    got = LOGITS.copy()
    got[0, 0] = np.nextafter(got[0, 0], np.float32(inf))
    with pytest.raises(GateError, match="not equal") as caught:
        gate(compare(LOGITS, got, STEP), "onnx")
    assert caught.value.exit_code == Exit.GATE and "99.97" in caught.value.why


@pytest.mark.parametrize(("samples", "wrong", "passes"), [
    (400, 0, True), (400, 2, True), (400, 3, False), (200, 1, True), (200, 2, False), (16, 1, True), (16, 2, False)])
def test_a_tflite_decides_the_same_on_199_of_200(samples: int, wrong: int, passes: bool) -> None:
    agreement = Agreement(samples, 1 - wrong / samples, 1 - wrong / samples, 0.95, 2.0, 30.0)
    if passes:
        gate(agreement, "tflite")
    else:
        with pytest.raises(GateError, match="disagrees"):
            gate(agreement, "tflite")


def test_a_tflite_may_flip_single_steps_but_not_lose_the_signal() -> None:
    got = LOGITS + STEP * RNG.integers(-1, 2, LOGITS.shape)
    gate(compare(LOGITS, got, STEP), "tflite")
    one_number = (RNG.standard_normal((300, 1)) * 20).astype(np.float32)  # no class to pick: the signal decides
    with pytest.raises(GateError):
        gate(compare(one_number, one_number * 0.5, STEP), "tflite")
    with pytest.raises(GateError):
        gate(compare(LOGITS, decided_otherwise(400, 40), STEP), "tflite")
