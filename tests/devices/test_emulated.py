"""Emulated cores as devices. What needs the emulator itself runs where EDGELR_EMULATOR names one."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Conv, build_onnx, build_tflite

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "emulation"))
from counting import Events, NotCountedError, events

from edgelr.devices.attach import open_transport
from edgelr.devices.device import Device
from edgelr.devices.sysroot import CORES, WHEELS, prepare, ready
from edgelr.errors import DeviceError, MeasurementError, UsageError
from edgelr.vocabulary import Format

emulator = pytest.mark.skipif(not os.environ.get("EDGELR_EMULATOR"), reason="EDGELR_EMULATOR names no emulator")
NET = [Conv("a", 16, 3), Conv("b", 16, 1, skip=True), Conv("c", 24, 3, 2)]
RUNTIMES = {"litert": "tflite", "onnxruntime": "onnx"}


def test_an_unknown_core_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        open_transport("emulated:x1")
    assert "x1" in caught.value.what
    assert all(f"emulated:{core}" in caught.value.why for core in CORES)


def test_without_an_emulator_the_user_is_told_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELR_EMULATOR", str(tmp_path / "none"))
    with pytest.raises(DeviceError) as caught:
        open_transport("emulated:a72")
    assert str(tmp_path / "none") in caught.value.what
    assert "doctor --emulator" in caught.value.try_


def test_wheels_of_another_version_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / ".ready").write_text("\n".join(WHEELS))
    assert ready(tmp_path)
    (tmp_path / ".ready").write_text("\n".join((*WHEELS[:-1], "numpy==1.0")))
    assert not ready(tmp_path)


def test_a_folder_with_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(DeviceError, match="holds other things"):
        prepare(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letters.txt", "root"]


def test_a_missing_emulator_is_told_before_anything_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="qemu-aarch64 is not installed"):
        prepare(tmp_path)
    assert (tmp_path / "root").is_dir()


@pytest.fixture(params=list(CORES))
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device(open_transport(f"emulated:{request.param}")) as opened:
        yield opened


def net(format: Format) -> bytes:
    return build_tflite(NET) if format == "tflite" else build_onnx(NET)


@emulator
@pytest.mark.slow
def test_int8_files_compute_the_same_there_bit_for_bit_and_are_never_timed(device: Device) -> None:
    """Convolutions are integer in both runtimes, so equal; ONNX Runtime adds in float, so within one step."""
    rng = np.random.default_rng(0)
    with Device(open_transport("local")) as here:
        for runtime, format in RUNTIMES.items():
            shape = (1, 8, 8, 3) if format == "tflite" else (1, 3, 8, 8)
            x = rng.integers(-128, 128, shape).astype(np.int8) if format == "tflite" else rng.standard_normal(shape).astype(np.float32)
            there, want = (d.run(net(format), [x], runtime=runtime) for d in (device, here))
            assert [a.shape for a in there] == [a.shape for a in want]
            if format == "tflite":
                assert all(np.array_equal(a, b) for a, b in zip(there, want, strict=True))
            else:
                assert all(np.allclose(a, b, atol=0.011) for a, b in zip(there, want, strict=True))
    told = device.describe()
    assert told.core == f"cortex-{device.address.partition(':')[2]}"
    assert told.name.startswith("emulated Cortex-")
    with pytest.raises(MeasurementError, match="can't be measured"):
        device.measure({"net": net("tflite")}, runtime="litert", threads=1)


def close(a: Events, b: Events, apart: float) -> bool:
    """The same multiplications, and the same or nearly the same of what a call costs besides.

    ONNX Runtime looks at the clock: where more than its interval has passed since a session's start, it does a little more.
    """
    counts = zip((a.load, a.store, a.other, a.l2_fetched), (b.load, b.store, b.other, b.l2_fetched), strict=True)
    return (a.fp_mac, a.int_mac) == (b.fp_mac, b.int_mac) and all(abs(x - y) <= apart * x for x, y in counts) and (apart > 0 or a == b)


@emulator
@pytest.mark.slow
@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_counts_depend_on_the_file_alone(runtime: str, tmp_path: Path) -> None:
    folder = tmp_path / "environments"
    folder.mkdir()
    (folder / "arm64").symlink_to(Path(os.environ["EDGELR_EMULATOR"]).resolve())
    format: Format = "tflite" if runtime == "litert" else "onnx"
    small = build_tflite(NET[:1]) if format == "tflite" else build_onnx(NET[:1])
    alone = events([("net", net(format))], "a72", runtime, folder)
    second, first = events([("small", small), ("net", net(format))], "a72", runtime, folder, tmp_path / "kept")
    assert close(alone[0], first, 0.0 if runtime == "litert" else 0.01)
    assert first.int_mac > second.int_mac > 0
    assert events([("net", net(format))], "a72", runtime, folder, tmp_path / "kept") == [first]
    dot = events([("net", net(format))], "a76", runtime, folder)[0]
    assert dot.int_mac < first.int_mac  # the dot product does sixteen at once
    warm = events([("net", net(format))], "a72", runtime, folder, cold=False)[0]
    assert warm.l2_fetched < first.l2_fetched and abs(warm.int_mac - first.int_mac) == 0


@emulator
@pytest.mark.slow
def test_a_refused_file_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "environments"
    folder.mkdir()
    (folder / "arm64").symlink_to(Path(os.environ["EDGELR_EMULATOR"]).resolve())
    with pytest.raises(NotCountedError) as caught:
        events([("broken", b"no model"), ("net", net("tflite"))], "a53", "litert", folder, tmp_path / "kept")
    assert list(caught.value.reasons) == ["broken"]
    assert len(list((tmp_path / "kept").iterdir())) == 2
