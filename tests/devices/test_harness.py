"""The harness: one file that runs anywhere, tells what it finds and tolerates what is missing, and measures in context."""
from __future__ import annotations

import ast
import hashlib
import json
import os
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelr.devices import harness
from edgelr.devices.harness.clock import Stopwatch
from edgelr.devices.harness.loops import ring
from edgelr.devices.harness.probes import probe
from edgelr.devices.harness_file import harness_file

SOURCES = sorted(Path(harness.__file__).parent.glob("*.py"))
OTHERS = {"numpy", "ai_edge_litert", "tflite_runtime", "onnxruntime"}


def put(folder: Path, data: bytes) -> dict[str, str]:
    path = folder / f"{hashlib.sha256(data).hexdigest()[:8]}.bin"
    path.write_bytes(data)
    return {"name": path.stem, "path": str(path), "sha256": hashlib.sha256(data).hexdigest()}


def run_job(folder: Path, job: dict[str, Any], **env: str) -> list[dict[str, Any]]:
    """The lines of a job, run as on a device: from the zip file, in a folder without edgelr."""
    (folder / "harness.zip").write_bytes(harness_file())
    (folder / "job").write_text(json.dumps({"schema": 1, "threads": 1, "cpus": None, **job}))
    argv = [sys.executable, "-P", "harness.zip", "job"]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=True, cwd=folder, env={**os.environ, **env})
    return [json.loads(line) for line in done.stdout.splitlines()]


def only(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["kind"] == kind]


def stand_in(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text("#!/bin/sh\n" + script)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_the_file_is_the_same_twice_and_holds_every_source() -> None:
    harness_file.cache_clear()
    first = harness_file()
    harness_file.cache_clear()
    assert first == harness_file()
    with zipfile.ZipFile(BytesIO(first)) as archive:
        assert {f"harness/{f.name}" for f in SOURCES} < set(archive.namelist())


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.name)
def test_sources_need_nothing_but_python_3_9_numpy_and_a_runtime(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(a.name.split(".")[0] in sys.stdlib_module_names | OTHERS for a in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module and node.module.split(".")[0] in sys.stdlib_module_names | OTHERS
        elif isinstance(node, ast.Call):
            # Newer than 3.9: zip(strict=), and unions of types outside annotations.
            assert not (ast.unparse(node.func) == "zip" and node.keywords)
            assert not (ast.unparse(node.func) == "isinstance" and isinstance(node.args[1], ast.BinOp))
    assert "from __future__ import annotations" in file.read_text("utf-8") or not tree.body[1:]


def test_it_describes_without_numpy_or_a_runtime(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('none here')")
    (host,) = only(run_job(tmp_path, {"task": "describe"}, PYTHONPATH=str(tmp_path)), "host")
    assert len(host["cpus"]) == os.cpu_count() and host["machine"] and set(host["pinned"]) <= set(range(1024))


def test_it_tells_the_signs_of_its_make(tmp_path: Path) -> None:
    tree = tmp_path / "proc/device-tree"
    (tree / "fw-cfg@9020000").mkdir(parents=True)
    (tree / "compatible").write_text("linux,dummy-virt\0")
    stand_in(tmp_path, "getprop", 'case "$1" in ro.boot.qemu) echo 1;; ro.product.model) echo sdk_gphone64_arm64;; esac')
    (host,) = only(run_job(tmp_path, {"task": "describe", "root": str(tmp_path)}, PATH=f"{tmp_path}:{os.environ['PATH']}"), "host")
    assert host["signs"] == ["linux,dummy-virt", "fw-cfg@9020000", "ro.boot.qemu"] and host["board"] == "sdk_gphone64_arm64"


def test_a_file_that_is_not_what_was_sent_is_never_loaded(tmp_path: Path, tflite_bytes: bytes) -> None:
    file = put(tmp_path, tflite_bytes)
    flipped = bytearray(tflite_bytes)
    flipped[len(flipped) // 2] ^= 1
    Path(file["path"]).write_bytes(flipped)
    job = {"task": "measure", "runtime": "litert", "files": [file], "rounds": 1, "min_seconds": 0, "seed": 0}
    lines = run_job(tmp_path, job)
    assert [line["kind"] for line in lines] == ["host", "damaged"] and lines[-1]["name"] == file["name"]


def test_nothing_but_its_own_lines_is_on_standard_output(tmp_path: Path, tflite_bytes: bytes) -> None:
    job = {"task": "measure", "runtime": "litert", "files": [put(tmp_path, tflite_bytes)], "rounds": 3, "min_seconds": 0, "seed": 0}
    lines = run_job(tmp_path, job)
    assert all(line["edgelr"] == 1 for line in lines)
    assert [line["kind"] for line in lines] == ["host", "loading", "probe", "probe", "rounds", "samples", "spent", "end"]
    assert [p["when"] for p in only(lines, "probe")] == ["before", "after"]
    samples, spent = only(lines, "samples")[0], only(lines, "spent")[0]
    assert len(samples["rounds_ms"]) >= 3 and all(ms > 0 for turn in samples["rounds_ms"] for ms in turn)
    assert spent["wall_s"] >= 0.9 * spent["cpu_s"] > 0


def test_files_named_for_removal_are_gone_even_if_the_job_fails(tmp_path: Path, tflite_bytes: bytes) -> None:
    file = put(tmp_path, tflite_bytes)
    lines = run_job(tmp_path, {"task": "measure", "runtime": "litert", "files": [file], "remove": [file["path"]]})  # "rounds" is missing
    assert lines[-1]["kind"] == "failed" and "rounds" in lines[-1]["why"]
    assert not Path(file["path"]).exists()


def test_it_keeps_to_the_fastest_processors(tmp_path: Path) -> None:
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        pytest.skip("needs two processors")
    entries = [f"processor\t: {n}\nCPU implementer\t: 0x41\nCPU part\t: {'0xd44' if n == mine[-1] else '0xd05'}\n" for n in mine]
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("\n".join(entries))
    for n in mine:
        folder = tmp_path / f"sys/devices/system/cpu/cpu{n}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text("1024\n" if n == mine[-1] else "250\n")
    pinned = [run_job(tmp_path, {"task": "describe", "cpus": "big", "threads": t, "root": str(tmp_path)})[0]["pinned"] for t in (1, 2)]
    assert pinned == [[mine[-1]], mine]
    assert run_job(tmp_path, {"task": "describe", "cpus": [mine[0]]})[0]["pinned"] == [mine[0]]


def sensors(root: Path, *, khz: int, degrees: float, bits: str = "") -> None:
    for n in os.sched_getaffinity(0):
        folder = root / f"sys/devices/system/cpu/cpu{n}/cpufreq"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scaling_cur_freq").write_text(f"{khz}\n")
        (folder / "scaling_governor").write_text("ondemand\n")
    for i, (kind, temp) in enumerate([("battery", 91.0), ("cpu-thermal", degrees)]):
        zone = root / f"sys/class/thermal/thermal_zone{i}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "type").write_text(kind + "\n")
        (zone / "temp").write_text(f"{degrees * 1000 if kind != 'battery' else temp * 1000:.0f}\n")
    if bits:
        firmware = root / "sys/devices/platform/soc/soc:firmware"
        firmware.mkdir(parents=True, exist_ok=True)
        (firmware / "get_throttled").write_text(bits + "\n")


def test_probes_read_what_the_system_tells(tmp_path: Path) -> None:
    sensors(tmp_path, khz=1_500_000, degrees=61.3, bits="50005")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text("0.42 0.1 0.0 1/100 1\n")
    found = probe("before", str(tmp_path))
    assert found == {
        "when": "before", "clock_mhz": 1500.0, "governor": "ondemand", "temperature_c": 61.3, "throttled": 0x50005, "load": 0.42
    }  # fmt: skip


def test_probes_ask_the_firmware_of_a_raspberry_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sensors(tmp_path, khz=1_500_000, degrees=40)
    script = """case "$*" in
    "measure_clock arm") echo "frequency(48)=600117184";;
    measure_temp) echo "temp=85.0'C";;
    get_throttled) echo "throttled=0x50005";;
    *) exit 1;; esac"""
    stand_in(tmp_path, "vcgencmd", script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = probe("after", str(tmp_path))
    assert (found["clock_mhz"], found["temperature_c"], found["throttled"]) == (600.117184, 85.0, 0x50005)


@pytest.mark.parametrize("script", ["sleep 60", "exit 3", "echo throttled=maybe", "head -c 3000000 /dev/urandom", "kill -9 $$"])
def test_a_probe_that_hangs_fails_or_babbles_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    stand_in(tmp_path, "vcgencmd", "exec " + script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    start = time.monotonic()
    found = probe("before", str(tmp_path))
    assert time.monotonic() - start < 5 and found == {"when": "before"}


def test_a_sensor_that_never_answers_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sensors(tmp_path, khz=900_000, degrees=40)
    zone = tmp_path / "sys/class/thermal/thermal_zone1/temp"
    zone.unlink()
    os.mkfifo(zone)
    monkeypatch.setattr("edgelr.devices.harness.probes.PROBE_SECONDS", 0.5)
    assert probe("before", str(tmp_path))["clock_mhz"] == 900
    with zone.open("w") as stream:  # lets the reader go
        stream.write("1\n")


class File:
    """A loaded file that writes down what happens to it."""

    def __init__(self, name: str, log: list[str], size_bytes: int = 1000) -> None:
        self._name, self._log, self.size_bytes = name, log, size_bytes

    def feed(self) -> None:
        self._log.append(f"feed {self._name}")

    def invoke(self) -> None:
        self._log.append(self._name)

    def close(self) -> None:
        self._log.append(f"close {self._name}")


def test_a_row_is_called_between_its_neighbours_its_input_fresh() -> None:
    log: list[str] = []

    def files() -> Iterator[tuple[str, Any]]:
        for i in range(12):
            log.append(f"load {i}")
            yield str(i), File(str(i), log)

    limits = {"least": 6, "most": 6, "window": 4, "min_seconds": 0.0}
    rows = []
    for row in ring(files(), Stopwatch(1), gauges=[("gauge", File("gauge", log))], **limits):
        log.append(f"done {row.name}")
        rows.append(row)
    assert sorted(int(r.name) for r in rows) == list(range(12)) and all(len(r.us) == 6 and len(r.gauges_us) == 1 for r in rows)
    calls = [word for word in log if word.isdigit() or word == "gauge"]
    for name in map(str, range(12)):
        places = [i for i, word in enumerate(calls) if word == name]
        between = [calls[a + 1 : b] for a, b in pairwise(places)]
        assert all(len(set(others)) == 4 and "gauge" in others for others in between)
    for i, word in enumerate(log):
        assert not word.isdigit() or log[i - 1] == f"feed {word}"
    # Streamed: files leave before later ones are loaded, one by one at the beginning too.
    assert log.index("done 0") < log.index("done 1") - 4 and log.index("done 0") < log.index("load 4")
    assert log.index("close 0") < log.index("load 6")


def test_large_files_are_not_in_the_ring_together() -> None:
    """Each would find its weights farther away than inside a network that the cache holds."""
    log: list[str] = []

    def files() -> Iterator[tuple[str, Any]]:
        for i, size_bytes in enumerate((100_000, 200_000, 600_000, 700_000, 4_000_000, 5_000_000, 50)):
            log.append(f"load {i}")
            yield str(i), File(str(i), log, size_bytes)

    rows = [row.name for row in ring(files(), Stopwatch(1), least=6, most=6, window=3, min_seconds=0.0)]
    assert sorted(rows) == list("0123456")
    calls = [word for word in log if word.isdigit()]
    for name, neighbours in (("0", set("12")), ("2", set("01")), ("3", set()), ("4", set()), ("5", set()), ("6", set())):
        places = [i for i, word in enumerate(calls) if word == name]
        assert {other for a, b in pairwise(places) for other in calls[a + 1 : b]} == neighbours, name


def test_a_row_has_gauges_that_were_called_as_it_was() -> None:
    """A call costs half as much when the one before was of the same file: 0.7 us instead of 1.5 in LiteRT."""
    log: list[str] = []

    class Watch(Stopwatch):
        def seconds(self, call: Callable[[], None]) -> float:
            call()
            return 0.5e-6 if log and log[-3:] == [log[-1], f"feed {log[-1]}", log[-1]] else 1e-6

    files = [(name, File(name, log)) for name in "ab"]
    limits = {"least": 6, "most": 6, "window": 2, "min_seconds": 0.0}
    rows = {row.name: row for row in ring(files, Watch(1), gauges=[("gauge", File("gauge", log))], near={"a"}, **limits)}
    assert rows["a"].us == [0.5] * 6 and rows["a"].gauges_us == [[0.5] * 6]
    assert rows["b"].us == [1.0] * 6 and rows["b"].gauges_us == [[1.0] * 6]


def test_a_gauge_that_is_near_is_called_so_for_all_rows() -> None:
    log: list[str] = []
    gauges = [("gauge", File("gauge", log)), ("pace", File("pace", log))]
    files = [(name, File(name, log)) for name in "ab"]
    rows = list(ring(files, Stopwatch(1), gauges=gauges, least=6, most=6, window=2, min_seconds=0.0, near={"a", "pace"}))
    assert [len(row.gauges_us) for row in rows] == [2, 2]
    places = [i for i, word in enumerate(log) if word == "feed pace"]
    assert places and all(log[i - 1] == "pace" == log[i + 1] for i in places)
    assert log.count("pace") == 2 * len(places) and log.count("gauge") == 3 * len(places)  # the other one: both ways, 1 + 2 calls


def test_only_a_near_row_makes_an_untimed_call_before_its_input_is_written() -> None:
    log: list[str] = []
    files = [(name, File(name, log)) for name in "ab"]
    rows = {row.name: row for row in ring(files, Stopwatch(1), least=6, most=6, window=2, min_seconds=0.0, near={"a"})}
    assert {len(row.us) for row in rows.values()} == {6}  # the untimed ones don't count
    for i, word in enumerate(log):
        if word == "feed a":
            assert log[i - 1] == "a" == log[i + 1]
        if word == "feed b":
            assert log[i - 1] != "b" == log[i + 1]


def test_a_row_is_measured_until_it_is_known_or_enough() -> None:
    watch, log = Stopwatch(1), list[str]()
    (row,) = ring([("a", File("a", log))], watch, least=3, most=20, window=7, min_seconds=0.1)
    assert len(row.us) > 100  # a call is a microsecond: it goes on for the time asked for
    (row,) = ring([("a", File("a", log))], watch, least=3, most=20, window=7, min_seconds=0.0)
    assert 3 <= len(row.us) <= 20


def test_inputs_are_read_without_unpickling(tmp_path: Path, tflite_bytes: bytes) -> None:
    stream = BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    job = {"task": "run", "runtime": "litert", "files": [put(tmp_path, tflite_bytes)], "inputs": [put(tmp_path, stream.getvalue())]}
    lines = run_job(tmp_path, {**job, "outputs": str(tmp_path / "out")})
    assert lines[-1]["kind"] == "failed" and "pickle" in lines[-1]["why"].lower()
