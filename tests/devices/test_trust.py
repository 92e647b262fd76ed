"""Times that can't be trusted are noticed: throttling, heat, a falling clock, drift, two speeds, a shared core, a clock that goes back."""
from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from edgelr.devices import Device
from edgelr.devices.local import LocalTransport
from edgelr.devices.measure import judged, series_of
from edgelr.devices.trust import Probe, Series, conditions, drift, sensed, two_modes, verdict
from edgelr.errors import MeasurementError
from edgelr.vocabulary import Timing


def noisy(n: int, ms: float = 10.0, share: float = 0.01, seed: int = 0) -> np.ndarray:
    return ms * np.random.default_rng(seed).lognormal(0, share, n)


def series(values: np.ndarray, minutes: float, calls: int = 1) -> Series:
    turns = tuple(tuple(float(v) for v in turn) for turn in values.reshape(-1, calls))
    return Series(turns, tuple(np.linspace(0, minutes * 60, len(turns))), 1.0, 1.0)


def probes(*clocks: float | None, heat: float | None = None, bits: tuple[int | None, ...] = ()) -> list[Probe]:
    return [Probe("during", clock, heat, bits[i] if bits else None) for i, clock in enumerate(clocks)]


def test_nothing_speaks_against_a_quiet_device() -> None:
    quiet = series(noisy(60), 2)
    assert verdict(probes(1500, 1490, heat=62, bits=(0, 0)), {"a": quiet}) == ()
    assert verdict([], {"a": quiet}) == () and verdict([Probe("before"), Probe("after")], {"a": quiet}) == ()


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ((0x50005, 0x50005), ["voltage", "is throttled"]),
        ((0, 0x1), ["voltage"]),
        ((0, 0x40000), ["is throttled"]),
        ((0x8,), ["temperature"]),
    ],
)
def test_throttle_bits_are_told(bits: tuple[int, ...], words: list[str]) -> None:
    flags = sensed(probes(*[1500.0] * len(bits), bits=bits))
    assert len(flags) == len(words) and all(word in flag for word, flag in zip(words, flags, strict=True))


def test_bits_of_what_happened_before_do_not_count() -> None:
    assert sensed(probes(1500, 1500, bits=(0x50000, 0x50000))) == ()


def test_a_falling_clock_is_told_wherever_it_fell() -> None:
    assert "from 1500 to 600 MHz" in sensed(probes(1500, 600))[0]
    assert "from 1500 to 600 MHz" in sensed(probes(1500, 600, 1500))[0]
    assert sensed(probes(600, 1500)) == () == sensed(probes(1500, 1400))


def test_heat_counts_where_the_clock_falls_or_is_not_known() -> None:
    assert sensed(probes(1500, 1500, heat=85)) == ()
    assert any("85 °C" in flag for flag in sensed(probes(1500, 1400, heat=85)))
    assert any("85 °C" in flag for flag in sensed(probes(None, None, heat=85)))
    assert sensed(probes(1500, 1400, heat=70)) == ()


@pytest.mark.parametrize("seed", range(5))
def test_three_percent_a_minute_is_drift(seed: int) -> None:
    for minutes in (1.0, 2.0, 5.0):
        rising = noisy(60, seed=seed) * (1 + 0.03 * np.linspace(0, minutes, 60))
        assert drift(series(rising, minutes))[1], minutes
        assert not drift(series(noisy(60, seed=seed), minutes))[1]
    # In a short measurement the same 3 % is what runs of one file differ by.
    assert not drift(series(noisy(60, seed=seed) * np.linspace(1, 1.03, 60), 0.02))[1]
    assert drift(series(noisy(60, seed=seed) * np.linspace(1, 1.12, 60), 0.02))[1]


def test_two_speeds_are_told_and_no_other_shape_is() -> None:
    rng = np.random.default_rng(1)
    moved = np.where(rng.random(60) < 0.3, noisy(60, 25), noisy(60, 10))
    assert two_modes(list(moved)) == pytest.approx((10, 25), rel=0.02)
    assert "two speeds, 10" in verdict([], {"a": series(moved, 0.1)})[0]
    spiky, near = noisy(200), np.concatenate([noisy(30), noisy(30, 11)])
    spiky[:4] *= 5
    for honest in (noisy(60, share=0.1), np.linspace(8, 16, 60), rng.uniform(5, 20, 100), spiky, noisy(60, share=0.0), moved[:10], near):
        assert two_modes(list(honest)) is None


def test_a_shared_core_is_told() -> None:
    turns = ((1.0,),) * 20
    assert verdict([], {"a": Series(turns, (), 1.0, 0.97)}) == ()
    assert "for 60% of the time" in verdict([], {"a": Series(turns, (), 1.0, 0.6)})[0]


@pytest.mark.parametrize("bad", [-1e-6, float("nan"), float("inf")])
def test_times_that_cannot_be_are_an_error(bad: float) -> None:
    taken = {"rounds_ms": {"a": [[1.0, bad]]}, "starts_s": [0.0], "wall_s": {"a": 1.0}, "cpu_s": {"a": 1.0}}
    with pytest.raises(MeasurementError, match="'a' can't be trusted") as error:
        series_of(taken)
    assert error.value.exit_code == 7


def test_a_clock_that_stands_still_is_an_error() -> None:
    empty = {"a": Timing("x", "litert", 1, 0, 0, 0, 0)}
    with pytest.raises(MeasurementError, match="doesn't move"):
        judged(empty, {"a": Series(((0.0,),) * 9)}, [], clock="wall time", strict=False)


def test_flags_are_told_and_refused_when_strict() -> None:
    empty, times = {"a": Timing("x", "litert", 1, 0, 0, 0, 0)}, {"a": series(noisy(60), 0.1)}
    hot = probes(1500, 600, heat=85, bits=(0, 0x50005))
    measured = judged(empty, times, hot, clock="wall time", strict=False)
    assert len(measured.flags) == 4 and measured.drifting == ()
    assert measured.conditions["clock"] == "1500 MHz before, 600 MHz after" and "0x50005" in measured.conditions["throttled"]
    with pytest.raises(MeasurementError, match="600 MHz") as error:
        judged(empty, times, hot, clock="wall time", strict=True)
    assert error.value.exit_code == 7


def test_conditions_leave_out_what_has_no_sensor() -> None:
    assert conditions([Probe("before"), Probe("after")]) == {} == conditions([])
    changed = conditions([Probe("before", governor="ondemand"), Probe("after", governor="powersave")])
    assert changed == {"governor": "ondemand, then powersave"}


VCGENCMD = """#!/bin/sh
calls=$(cat "$0.calls" 2>/dev/null || echo 0)
case "$*" in
"measure_clock arm") [ "$calls" = 0 ] && echo "frequency(48)=1500345728" || echo "frequency(48)=600117184";;
measure_temp) [ "$calls" = 0 ] && echo "temp=61.3'C" || echo "temp=85.0'C";;
get_throttled) [ "$calls" = 0 ] && echo "throttled=0x0" || echo "throttled=0x50005"; echo 1 >"$0.calls";;
esac
"""


@pytest.fixture
def throttling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A vcgencmd, as on a Raspberry Pi, that tells of throttling from its second round of answers on."""
    program = tmp_path / "vcgencmd"
    program.write_text(VCGENCMD)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def test_a_throttled_run_is_flagged_and_exits_with_7_when_strict(throttling: Path, tflite_bytes: bytes) -> None:
    with Device(LocalTransport()) as device:
        measured = device.measure({"net": tflite_bytes}, runtime="litert", threads=1, rounds=5, min_seconds=0)
        told = " ".join(measured.flags)
        assert "voltage" in told and "throttled" in told and "from 1500 to 600 MHz" in told and "85 °C" in told
        assert measured["net"].median > 0 and measured.conditions["temperature"] == "61 °C before, 85 °C after"
        (throttling / "vcgencmd.calls").unlink()
        with pytest.raises(MeasurementError, match="throttled") as error:
            device.measure({"net": tflite_bytes}, runtime="litert", threads=1, rounds=5, min_seconds=0, strict=True)
        assert error.value.exit_code == 7


def test_rows_of_a_throttled_device_are_marked(throttling: Path, tflite_bytes: bytes) -> None:
    files = [(str(i), tflite_bytes) for i in range(3)]
    with Device(LocalTransport()) as device:
        rows = {name: us for name, us, _ in device.rows(files, runtime="litert", threads=1, min_seconds=1.2, window=2)}
    assert all(any("throttled" in flag for flag in us.flags) for us in rows.values()) and len(rows) == 3
