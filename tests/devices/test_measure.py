"""Measurements are interleaved, repeatable in their order, told with their spread, and honest about drift."""
from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from edgelr.devices import Stopwatch, measure, open_session, spread
from edgelr.errors import MeasurementError, UsageError


class Work:
    """A session that does what it is told and writes down when it was called."""

    runtime, threads, integer_output = "litert", 1, False

    def __init__(self, work: Callable[[], None], log: list[str] | None = None, name: str = "") -> None:
        self._work, self._log, self._name = work, log, name

    def run(self, x: np.ndarray) -> np.ndarray:
        return x

    run_int = run

    def invoke(self) -> None:
        if self._log is not None:
            self._log.append(self._name)
        self._work()

    def close(self) -> None:
        pass


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def turns(seed: int) -> list[str]:
    """Which session was on turn in each of the rounds (each works 2 ms, so a turn is an untimed and a timed call)."""
    log: list[str] = []
    sessions = {name: Work(lambda: spin(2e-3), log, name) for name in "abc"}
    measured = measure(sessions, on="host", rounds=12, min_seconds=0, seed=seed)
    rounds = len(measured.rounds_ms["a"])
    return log[-rounds * 6 :: 2][:36]


def test_rounds_interleave_in_a_random_order_set_by_the_seed() -> None:
    first, again, other = turns(1), turns(1), turns(2)
    assert first == again != other
    rounds = [tuple(first[i : i + 3]) for i in range(0, 36, 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds) and len(set(rounds)) > 2


def test_timings_of_real_networks_are_consistent(tflite_bytes: bytes, onnx_bytes: bytes) -> None:
    sessions = {"lite": open_session(tflite_bytes, "tflite"), "ort": open_session(onnx_bytes, "onnx")}
    measured = measure(sessions, on="host", rounds=20, min_seconds=0.05)
    assert list(measured) == ["lite", "ort"] and measured.clock == "thread CPU time"
    for name, timing in measured.items():
        assert 0 < timing.p10 <= timing.median <= timing.p90 and timing.n >= 50
        assert timing.how == "measured" and timing.on == "host" and timing.threads == 1
        assert len(measured.rounds_ms[name]) >= 20
    assert measured["lite"].runtime == "litert" and measured["ort"].runtime == "onnxruntime"


def test_a_ratio_tells_which_is_faster_beyond_noise() -> None:
    measured = measure({"slow": Work(lambda: spin(8e-4)), "fast": Work(lambda: spin(4e-4))}, on="host", min_seconds=0.1)
    ratio = measured.ratio("slow", "fast")
    assert 1.6 < ratio.median < 2.4 and ratio.low > 1 and ratio.p10 <= ratio.median <= ratio.p90
    assert measured.ratio("fast", "slow").high < 1
    assert measured["slow"].median == pytest.approx(0.8, rel=0.15)


def test_one_thread_is_timed_in_cpu_time_so_that_waiting_for_the_core_does_not_count() -> None:
    measured = measure({"waits": Work(lambda: (time.sleep(2e-3), spin(5e-4))[1])}, on="host", rounds=5, min_seconds=0)
    assert 0.4 < measured["waits"].median < 1.2


def test_many_fast_calls_or_a_narrow_interval_end_the_measurement() -> None:
    measured = measure({"a": Work(lambda: spin(2e-3))}, on="host", rounds=3, min_seconds=0)
    rounds = measured.rounds_ms["a"]
    assert measured["a"].n >= 50 or spread(rounds).half_width <= 0.02


def test_sessions_are_warm_before_they_are_timed() -> None:
    log: list[str] = []
    measured = measure({"a": Work(lambda: spin(1e-4), log, "a")}, on="host", rounds=1, min_seconds=0)
    untimed = len(log) - measured["a"].n
    assert untimed >= 10 + len(measured.rounds_ms["a"])  # ten and more before, and one before each round


def test_a_core_that_others_use_is_told() -> None:
    measured = measure({"a": Work(lambda: (time.sleep(1e-3), spin(1e-4))[1])}, on="host", rounds=5, min_seconds=0)
    assert any("another program" in flag for flag in measured.flags)


def test_drift_is_flagged_and_refused_when_strict() -> None:
    def slowing() -> Work:
        step = [1e-3]

        def work() -> None:
            step[0] *= 1.01
            spin(step[0])

        return Work(work)

    measured = measure({"a": slowing(), "b": Work(lambda: spin(1e-3))}, on="host", rounds=30, min_seconds=0)
    assert "a" in measured.drifting and measured.drift["a"] > 0.1
    with pytest.raises(MeasurementError, match="drift") as error:
        measure({"a": slowing()}, on="host", rounds=30, min_seconds=0, strict=True)
    assert error.value.exit_code == 7


def test_nothing_to_measure_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        measure({}, on="host")


def test_the_interval_of_the_median_holds_it_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    for n in (30, 50, 200):
        inside = 0
        for _ in range(1000):
            s = spread(list(rng.lognormal(0, 0.5, n)))
            inside += s.low <= 1.0 <= s.high
        assert 930 <= inside <= 985, (n, inside)


def test_the_stopwatch_takes_off_its_own_cost() -> None:
    watch = Stopwatch(1)
    assert np.median([watch.seconds(lambda: None) for _ in range(200)]) < 5e-7
    assert watch.seconds(lambda: spin(1e-3)) == pytest.approx(1e-3, rel=0.1)
    assert Stopwatch(2).name == "wall time"
