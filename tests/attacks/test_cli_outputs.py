"""What a run leaves behind: nothing half-written, whether it is refused, runs out of disk or is interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attack_tools import assert_refused, compress, entries
from journey_sample import edgelr, words

from edgelr.errors import Exit


def test_an_earlier_result_is_not_touched_without_force_and_replaced_with_it(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("mine", "utf-8")
    (out / "notes.txt").write_text("mine too", "utf-8")
    (out / "model.int8.tflite").write_text("of an earlier run", "utf-8")
    before = entries(tmp_path)
    assert_refused(compress(inputs, out), Exit.USAGE, "exists and is not empty", "--force")
    assert entries(tmp_path) == before
    done = compress(inputs, out, "--force", "--format", "onnx", "--method", "additive")
    assert done.code == 0, done.err
    assert (out / "notes.txt").read_text("utf-8") == "mine too" and "schema" in (out / "report.json").read_text("utf-8")
    assert not (out / "model.int8.tflite").exists()  # it would pass for this run's


def test_an_output_that_is_a_file_is_refused(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", "utf-8")
    assert_refused(compress(inputs, tmp_path / "out", "--force"), Exit.USAGE, "is a file")
    assert_refused(compress(inputs, tmp_path / "out" / "below", "--force"), Exit.USAGE)
    assert entries(tmp_path) == {"out": b"mine"}


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A small file system in memory; skips where that takes rights that we don't have."""
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting takes root on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_can_t_be_written_is_refused_before_any_work(inputs: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    if os.geteuid() == 0:
        with mounted(tmp_path / "fixed", "ro,size=64k"):
            done = compress(inputs, tmp_path / "fixed" / "deep" / "out")
    else:
        (tmp_path / "fixed").mkdir(mode=0o555)
        done = compress(inputs, tmp_path / "fixed" / "deep" / "out")
    assert_refused(done, Exit.USAGE, "can't be written")
    assert time.monotonic() - start < 2 and entries(tmp_path) == {"fixed": None}


def test_a_full_disk_leaves_the_earlier_output_as_it_was(inputs: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=400k"):
        out = tmp_path / "small" / "out"
        assert edgelr("quantize", *words(inputs, "-o", str(out), "-q")).code == 0
        room = shutil.disk_usage(out).free
        (tmp_path / "small" / "filler").write_bytes(bytes(max(0, room - 20_000)))
        before = entries(tmp_path)
        assert_refused(
            edgelr("quantize", *words(inputs, "-o", str(out), "-q", "--force", "--seed", "1")), Exit.BAD_INPUT, "disk is full", "why: "
        )
        assert entries(tmp_path) == before


def test_a_folder_that_is_a_file_system_of_its_own_can_be_written(inputs: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "volume", "size=1m"):
        done = edgelr("quantize", *words(inputs, "-o", str(tmp_path / "volume"), "-q"))
        assert done.code == 0, done.err
        assert not [p.name for p in (tmp_path / "volume").iterdir() if p.name.startswith(".")]


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize("moment", ["starting", "at work", "measuring"])
def test_an_interrupt_ends_the_run_soon_and_leaves_nothing(inputs: Path, tmp_path: Path, moment: str) -> None:
    wait_for = {"starting": "", "at work": "writing the dense network", "measuring": "pricing"}[moment]
    child = subprocess.Popen(
        [sys.executable, "-m", "edgelr", "compress", *words(inputs, "--budget", "90%ms", "-o", "out")],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert child.stderr is not None and child.stdout is not None
    try:
        told = ""
        if wait_for:
            for line in child.stderr:
                told += line
                if wait_for in line:
                    break
        else:
            time.sleep(0.7)  # torch is being imported
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, rest = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == Exit.INTERRUPTED, told + rest
    assert "interrupted" in rest and "Traceback" not in told + rest and out == ""
    assert time.monotonic() - start < 10 and entries(tmp_path) == {}
