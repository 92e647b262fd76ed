"""A device that is attached does what this machine does, and nothing that it says is believed before it is checked."""
from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Conv, build_tflite

from edgelr.devices import Device, measure, open_session
from edgelr.devices.answers import Answer
from edgelr.devices.arrays import to_npy
from edgelr.devices.harness_file import NAME
from edgelr.devices.jobs import BATCH_FILES, Placed
from edgelr.devices.local import LocalTransport
from edgelr.errors import BadInputError, DeviceError, EdgelrError, MeasurementError, UsageError


@pytest.fixture
def device() -> Iterator[Device]:
    with Device(LocalTransport()) as attached:
        yield attached


class Pretender(LocalTransport):
    """A device whose Python does what ``script`` says; ``sys.argv`` holds what the real one would get."""

    silent_s = 2.0

    def __init__(self, script: str) -> None:
        super().__init__("local")
        self._script = script

    def python(self, modules: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", self._script]

    def lines(self, argv: Sequence[str], *, seconds: float, silent_seconds: float = 120.0) -> Iterator[bytes]:
        return super().lines(argv, seconds=min(seconds, 30), silent_seconds=self.silent_s)


@pytest.fixture(scope="module")
def nets() -> dict[str, bytes]:
    return {"small": build_tflite([Conv("stem", 8)], size=16), "large": build_tflite([Conv("a", 32), Conv("b", 32)], size=32)}


def test_it_says_what_it_is(device: Device) -> None:
    told = device.describe("litert")
    assert told.machine == __import__("platform").machine() and told.cpus and told.core and told.name
    assert set(told.runtimes) >= {"litert", "onnxruntime"} and told.packages["litert"] == "ai-edge-litert"
    assert told.conditions("litert")["runtime"] == f"ai-edge-litert {told.runtimes['litert']}"


def test_arm_cores_have_their_names(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("Raspberry Pi 4 Model B Rev 1.4\0")
    block = "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"
    (tmp_path / "proc/cpuinfo").write_text("\n".join(block.format(n) for n in range(4)) + "\nHardware\t: BCM2835\nModel\t: x\n")
    with Device(LocalTransport(), root=str(tmp_path)) as device:
        told = device.describe()
    assert told.core == "cortex-a72" and told.name == "Raspberry Pi 4 Model B Rev 1.4 (4 x cortex-a72)" and "asimd" in told.flags


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_it_measures_as_this_machine_does(device: Device, runtime: str, tflite_bytes: bytes, onnx_bytes: bytes) -> None:
    data, format = (tflite_bytes, "tflite") if runtime == "litert" else (onnx_bytes, "onnx")
    there = device.measure({"net": data, "again": data}, runtime=runtime, threads=1, min_seconds=0.2)  # type: ignore[arg-type]
    here = measure({"net": open_session(data, format)}, on="host", min_seconds=0.2)  # type: ignore[arg-type]
    assert list(there) == ["net", "again"] and there.clock == here.clock == "thread CPU time"
    # Units and clock are the same; how long a call takes on a busy machine is no property of the code.
    assert 0.1 < there["net"].median / here["net"].median < 10 and 0.1 < there["net"].median / there["again"].median < 10
    assert there["net"].how == "measured" and there["net"].runtime == runtime and there["net"].n >= 50
    assert len(there.rounds_ms["net"]) == len(there.rounds_ms["again"]) >= 30
    assert runtime in there.conditions["runtime"].replace("ai-edge-litert", "litert")


def test_times_that_differ_are_told_apart(device: Device, nets: dict[str, bytes]) -> None:
    measured = device.measure(nets, runtime="litert", threads=1, min_seconds=0.1)
    assert measured.ratio("large", "small").low > 2


def test_near_files_are_named_to_the_harness_as_it_calls_them(
    device: Device, nets: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    started, told = device._jobs.start, []

    def start(task: str, runtime: Any, placed: Placed, **job: Any) -> Iterator[Answer]:
        told.append([placed.names[int(name)] for name in job["near"]])
        return started(task, runtime, placed, **job)

    monkeypatch.setattr(device._jobs, "start", start)
    files = [("a", nets["small"]), ("b", nets["small"]), ("c", nets["small"])]
    near = {"b", "c", "gauge b"}
    gauges = {"gauge a": nets["small"], "gauge b": nets["small"]}
    rows = device.rows(files, runtime="litert", threads=1, min_seconds=0.0, gauges=gauges, near=near.__contains__)
    assert {name for name, _, _ in rows} == {"a", "b", "c"} and told == [["gauge b", "b", "c"]]


def test_rows_come_one_by_one_with_the_cost_of_a_call(device: Device, nets: dict[str, bytes]) -> None:
    drawn: list[int] = []

    def files() -> Iterator[tuple[str, bytes]]:
        for i in range(BATCH_FILES + 8):
            drawn.append(i)
            yield f"{'large' if i % 2 else 'small'} {i}", nets["large" if i % 2 else "small"]

    rows, first_drawn = {}, 0
    for name, us, n in device.rows(files(), runtime="litert", threads=1, min_seconds=0.02, gauges={"gauge": nets["small"]}):
        first_drawn = first_drawn or len(drawn)
        rows[name] = us
        assert n == us.n >= 14 and us.low <= us.median <= us.high
    assert len(rows) == BATCH_FILES + 8 and first_drawn == BATCH_FILES
    small, large = ([us for name, us in rows.items() if name.startswith(word)] for word in ("small", "large"))
    assert np.median([us.median for us in large]) > 2 * np.median([us.median for us in small])
    assert np.median([us.median / np.median(us.gauges_us["gauge"]) for us in small]) == pytest.approx(1, rel=0.3)


def test_a_refused_file_is_told_and_the_others_are_measured(device: Device, tflite_bytes: bytes) -> None:
    files = [("good", tflite_bytes), ("bad", b"no network" * 9), ("fine", tflite_bytes)]
    refused: dict[str, str] = {}
    names = [name for name, _, _ in device.rows(files, runtime="litert", threads=1, min_seconds=0, refused=refused.__setitem__)]
    assert sorted(names) == ["fine", "good"] and "Error" in refused["bad"]
    with pytest.raises(BadInputError, match="bad"):
        list(device.rows(files, runtime="litert", threads=1, min_seconds=0))
    with pytest.raises(BadInputError, match="bad"):
        device.measure(dict(files), runtime="litert", threads=1, rounds=1)


def test_kernels_are_profiled_and_the_whole_beside_them(device: Device, onnx_bytes: bytes) -> None:
    kernels = device.kernels(onnx_bytes, threads=1, runs=20)
    assert kernels and len(kernels.whole_us) == 20 and all(len(us) == 20 for us in kernels.values())
    assert any("fc" in name for name in kernels) and min(kernels.whole_us) > 0
    with pytest.raises(BadInputError):
        device.kernels(b"no network", threads=1)


def test_raw_outputs_are_those_of_this_machine(device: Device, tflite_bytes: bytes, onnx_bytes: bytes) -> None:
    x = np.random.default_rng(0).normal(0, 1, (3, 3, 8, 8)).astype(np.float32)
    (y,) = device.run(onnx_bytes, [x], runtime="onnxruntime")
    np.testing.assert_array_equal(y, open_session(onnx_bytes, "onnx").run(x))
    q = np.random.default_rng(0).integers(-128, 128, (3, 8, 8, 3)).astype(np.int8)
    (y,) = device.run(tflite_bytes, [q], runtime="litert")
    grid = (np.moveaxis(q, -1, 1).astype(np.float32) - 3) * np.float32(0.05)  # the input's scale and zero point (conftest)
    np.testing.assert_array_equal(y, open_session(tflite_bytes, "tflite").run_int(grid))
    assert y.dtype == np.int8 and y.shape == (3, 5)
    with pytest.raises(DeviceError, match="job failed"):
        device.run(tflite_bytes, [q, q], runtime="litert")


def test_nothing_but_the_harness_is_left_between_jobs(tflite_bytes: bytes, onnx_bytes: bytes) -> None:
    transport = LocalTransport()
    with Device(transport) as device:
        device.measure({"net": tflite_bytes}, runtime="litert", threads=1, rounds=1, min_seconds=0)
        list(device.rows([("a", tflite_bytes)], runtime="litert", threads=1, min_seconds=0))
        device.run(onnx_bytes, [np.zeros((1, 3, 8, 8), np.float32)], runtime="onnxruntime")
        folder = Path(transport.folder)
        assert {file.name for file in folder.iterdir()} == {NAME, "job"}
    assert not folder.exists()


def test_an_emulated_device_has_no_times(tflite_bytes: bytes) -> None:
    transport = LocalTransport()
    transport.timed = False
    with Device(transport) as device:
        attempts = (
            lambda: device.measure({"a": tflite_bytes}, runtime="litert", threads=1),
            lambda: list(device.rows([("a", tflite_bytes)], runtime="litert", threads=1)),
            lambda: device.kernels(b"", threads=1),
        )
        for attempt in attempts:
            with pytest.raises(MeasurementError, match="emulated"):
                attempt()
        assert device.run(tflite_bytes, [np.zeros((1, 8, 8, 3), np.int8)], runtime="litert")


def made_of(root: Path, **files: str) -> Path:
    """The /proc and /sys of a machine with one Cortex-A72 that says of its make what ``files`` hold; a path's "/" is "__"."""
    written = {"proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"}
    written |= {name.replace("__", "/"): text for name, text in files.items()}
    for name, text in written.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


# As QEMU's board "virt" says it by device tree (read there), and where firmware was booted.
DUMMY = {"proc__device-tree__model": "linux,dummy-virt\0", "proc__device-tree__compatible": "linux,dummy-virt\0"}
FIRMWARE = {"sys__class__dmi__id__sys_vendor": "QEMU\n", "sys__class__dmi__id__product_name": "QEMU Virtual Machine\n"}
NODE = {"proc__device-tree__model": "a board\0", "proc__device-tree__fw-cfg@9020000__compatible": "qemu,fw-cfg-mmio\0"}


@pytest.mark.parametrize("files", [DUMMY, FIRMWARE, NODE], ids=["device tree", "firmware", "its node"])
def test_a_virtual_board_is_told_by_what_it_says_and_never_timed(files: dict[str, str], tmp_path: Path, tflite_bytes: bytes) -> None:
    root = str(made_of(tmp_path, **files))
    with Device(LocalTransport(), root=root) as device:
        told = device.describe()
        assert told.core == "cortex-a72" and told.emulator
        with pytest.raises(MeasurementError, match="virtual") as error:
            device.measure({"a": tflite_bytes}, runtime="litert", threads=1)
        assert error.value.exit_code == 7 and told.emulator in str(error.value)
        assert device.run(tflite_bytes, [np.zeros((1, 8, 8, 3), np.int8)], runtime="litert")


@pytest.mark.parametrize("task", ["measure", "rows", "kernels"])
def test_a_virtual_board_that_was_not_asked_before_gives_no_time(task: str, tmp_path: Path, tflite_bytes: bytes) -> None:
    tasks = {
        "measure": lambda device: device.measure({"a": tflite_bytes}, runtime="litert", threads=1),
        "rows": lambda device: list(device.rows([("a", tflite_bytes)], runtime="litert", threads=1)),
        "kernels": lambda device: device.kernels(b"", threads=1),
    }
    with Device(LocalTransport(), root=str(made_of(tmp_path, **DUMMY))) as device, pytest.raises(MeasurementError, match="dummy-virt"):
        tasks[task](device)


def test_boards_and_machines_on_a_real_processor_are_timed(tmp_path: Path) -> None:
    pi = {"proc__device-tree__model": "Raspberry Pi 4 Model B Rev 1.4\0", "proc__device-tree__compatible": "raspberrypi,4\0brcm,bcm2711\0"}
    kvm = {**FIRMWARE, "sys__class__dmi__id__product_name": "KVM Virtual Machine\n"}
    x86 = {**FIRMWARE, "sys__class__dmi__id__product_name": "Standard PC (Q35 + ICH9, 2009)\n"}
    for name, files in {"none": {}, "pi": pi, "kvm": kvm, "x86": x86}.items():
        with Device(LocalTransport(), root=str(made_of(tmp_path / name, **files))) as device:
            assert device.describe().emulator == "" and device.timed, name


def test_nothing_to_measure_is_a_usage_error(device: Device) -> None:
    with pytest.raises(UsageError):
        device.measure({}, runtime="litert", threads=1)


# What a hostile or broken device may say. Every script is a real process.

SAY = "import json, os, sys, time\ndef say(kind, **values): print(json.dumps({'edgelr': 1, 'kind': kind, **values}), flush=True)\n"
HOST = (
    "say('host', board='', signs=[], cpus=[], flags=[], memory_bytes=0, machine='m', system='s', python='3', runtimes={}, pinned=[0], "
    "clock='c')\n"
)
MEASURED = HOST + """say('rounds', starts_s=%s)
say('samples', name='%s', rounds_ms=%s)
say('spent', name='0', wall_s=1, cpu_s=1)
say('end')"""
DEVICE_CASES = {
    "100 MB of nothing": "for _ in range(1600): sys.stdout.write('x' * 62499 + '\\n')",
    "100 MB in one line": "for _ in range(1600): sys.stdout.write('x' * 62500)",
    "100 MB of answers": HOST + "for _ in range(1600): say('probe', when='x' * 62500)",
    "not UTF-8": "sys.stdout.buffer.write(b'\\xff\\xfe{\\x80}\\n' * 50)",
    "silence": HOST + "time.sleep(60)",
    "exit 0 with garbage": "print('Welcome to Ubuntu'); print('{\"edgelr\": 2}'); print('{' * 100000)",
    "nothing at all": "",
    "an end without a beginning": "say('end')",
    "times of nobody knows what": MEASURED.removeprefix(HOST) % ([0.0], "0", [[1.0]]),
    "numbers of 10000 digits": HOST + "print('{\"edgelr\": 1, \"kind\": \"rounds\", \"starts_s\": [' + '9' * 10000 + ']}')",
    "a file of another": MEASURED % ([0.0], "7", [[1.0]]),
    "a path for a name": MEASURED % ([0.0], "../../etc/passwd", [[1.0]]),
    "samples missing": MEASURED % ([0.0, 1.0], "0", [[1.0]]),
    "all but the end": MEASURED.replace("say('end')", "") % ([0.0], "0", [[1.0]]),
    "an empty round": MEASURED % ([0.0], "0", [[]]),
    "texts for times": HOST.replace("pinned=[0]", "pinned=['0']") + "say('end')",
    "lists for texts": HOST.replace("board=''", "board=['\\x1b[2J']") + "say('end')",
    "runtimes of another kind": HOST.replace("runtimes={}", "runtimes={'litert': 'x'}") + "say('end')",
    "a code of 9": "say('probe', when='before'); sys.exit(9)",
    "its death": HOST + "say('loading', name='0'); os.kill(os.getpid(), 11)",
}  # fmt: skip
TIME_CASES = {
    "negative": MEASURED % ([0.0], "0", [[-1.0]]),
    "not a number": MEASURED % ([0.0], "0", "[[float('nan')]]"),
    "infinite": MEASURED % ([0.0], "0", "[[float('inf')]]"),
    "a text": MEASURED % ([0.0], "0", "[['1.0']]"),
    "nothing": MEASURED % ([0.0], "0", [[0.0]]),
    "rounds that go back": MEASURED % ([5.0, 1.0], "0", [[1.0], [1.0]]),
    "an hour within a second": MEASURED % ([0.0], "0", [[3.6e6]]),
}


def said_by(script: str, **settings: object) -> EdgelrError:
    with Device(Pretender(SAY + script)) as device, pytest.raises((DeviceError, MeasurementError)) as error:
        device.measure({"net": b"data"}, runtime="litert", threads=1, **settings)  # type: ignore[arg-type]
    assert len(str(error.value)) < 2000 and str(error.value).replace("\n", "").isprintable()
    return error.value


@pytest.mark.parametrize("case", DEVICE_CASES)
def test_what_cannot_be_read_is_a_device_error(case: str) -> None:
    assert said_by(DEVICE_CASES[case]).exit_code == 6


@pytest.mark.parametrize("case", TIME_CASES)
def test_times_that_cannot_be_are_a_measurement_error(case: str) -> None:
    assert said_by(TIME_CASES[case]).exit_code == 7


def test_honest_answers_pass_and_nothing_steers_the_terminal() -> None:
    script = HOST.replace("board=''", "board='\\x1b[2Jpwned\\u202e'") + "print('last login: today')\n"
    script += "\n".join(MEASURED.splitlines()[1:]) % ([0.0], "0", [[1.0]])
    with Device(Pretender(SAY + script)) as device:
        measured = device.measure({"net": b"data"}, runtime="litert", threads=1)
    assert measured["net"].median == 1.0 and "pwned" in measured["net"].on and measured["net"].on.isprintable()
    refused = HOST + "say('refused', name='0', why='\\x1b]0;title\\x07' + 'x' * 5000); say('end')"
    with Device(Pretender(SAY + refused)) as device, pytest.raises(BadInputError) as error:
        device.measure({"net": b"data"}, runtime="litert", threads=1)
    assert str(error.value).replace("\n", "").isprintable() and len(str(error.value)) < 1000


def test_a_runtime_that_dies_of_a_file_is_named_with_it() -> None:
    assert "it was loading 'net'" in str(said_by(DEVICE_CASES["its death"]))


def test_outputs_are_those_that_were_announced() -> None:
    write = """import hashlib
job = json.load(open(sys.argv[2]))
data = bytes.fromhex('%s')
open(job['outputs'] + '0.npy', 'wb').write(data)
say('output', index=%d, sha256=hashlib.sha256(data + %s).hexdigest())
say('end')"""
    array = to_npy(np.arange(3))
    with Device(Pretender(SAY + HOST + write % (array.hex(), 0, b""))) as device:
        np.testing.assert_array_equal(device.run(b"data", [np.zeros(1, np.int8)], runtime="litert")[0], np.arange(3))
    for data, index, more in ((array, 0, b"x"), (b"junk", 0, b""), (array, -1, b""), (array, 3, b""), (array[:-1], 0, b"")):
        with Device(Pretender(SAY + HOST + write % (data.hex(), index, more))) as device, pytest.raises(DeviceError):
            device.run(b"data", [np.zeros(1, np.int8)], runtime="litert")
    with Device(Pretender(SAY + HOST + "say('end')")) as device, pytest.raises(DeviceError, match="no outputs"):
        device.run(b"data", [np.zeros(1, np.int8)], runtime="litert")


@pytest.mark.parametrize(
    "script",
    [
        "say('row', name='0', us=[1.0], gauges_us=[])\nsay('row', name='0', us=[1.0], gauges_us=[])\nsay('end')",
        "say('row', name='0', us=[1.0], gauges_us=[[2.0]])\nsay('end')",
        "say('end')",
        "say('row', name='9', us=[1.0], gauges_us=[])\nsay('end')",
    ],
    ids=["twice", "a gauge too many", "none", "of another"],
)
def test_rows_that_do_not_add_up_are_a_device_error(script: str) -> None:
    with Device(Pretender(SAY + HOST + script)) as device, pytest.raises(DeviceError):
        list(device.rows([("a", b"data")], runtime="litert", threads=1))


# The real harness behind a link that breaks after so many lines.
BREAKING = """
import os, signal, subprocess, sys
harness = subprocess.Popen([sys.executable, *sys.argv[2:]], stdout=subprocess.PIPE)
for _ in range(int(sys.argv[1])):
    line = harness.stdout.readline()
    sys.stdout.buffer.write(line)
    sys.stdout.flush()
harness.kill()
os.kill(os.getpid(), signal.SIGKILL)
"""


class Breaking(Pretender):
    def __init__(self, after: int) -> None:
        super().__init__(BREAKING)
        self._after = after

    def python(self, modules: Sequence[str]) -> list[str]:
        return [*super().python(modules), str(self._after)]


@pytest.mark.parametrize("after", [0, 1, 3, 5, 9, 13, 15, 17, 19, 21])
def test_a_lost_link_keeps_every_row_that_was_known(after: int, tflite_bytes: bytes) -> None:
    files = [(f"row {i}", tflite_bytes) for i in range(10)]
    known: list[str] = []
    with Device(Breaking(after)) as device, pytest.raises(DeviceError) as error:
        for name, us, _ in device.rows(files, runtime="litert", threads=1, min_seconds=0, window=4):
            assert us.median > 0
            known.append(name)
    assert error.value.exit_code == 6
    # Before rows: what the device is, a probe, and a "loading" for each file.
    with Device(LocalTransport()) as device:
        left = [file for file in files if file[0] not in known]
        resumed = [name for name, _, _ in device.rows(left, runtime="litert", threads=1, min_seconds=0, window=4)]
    assert sorted(known + resumed) == sorted(name for name, _ in files)
    assert after < 13 or known


def test_every_line_that_came_through_was_used(tflite_bytes: bytes) -> None:
    """Rows are given at once: as many as had been told when the link broke."""
    files = [(f"row {i}", tflite_bytes) for i in range(10)]
    transport = LocalTransport()
    with Device(transport) as device:
        seen: list[int] = []
        lines = transport.lines
        told = 0

        def counted(*args: object, **settings: object) -> Iterator[bytes]:
            nonlocal told
            for line in lines(*args, **settings):  # type: ignore[arg-type]
                told += json.loads(line)["kind"] == "row"
                yield line

        transport.lines = counted  # type: ignore[method-assign]
        for i, _ in enumerate(device.rows(files, runtime="litert", threads=1, min_seconds=0), 1):
            seen.append(told - i)
    assert seen == [0] * 10
