"""A whole emulated board, from its kernel to its sshd: real files through the real link, and no time of it is ever taken for a board's.

EDGELR_BOARD names the folder that ``tools/board/board.py`` built.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from endpoint_sample import needs
from journey_sample import SHORT, edgelr, network, samples, words

from edgelr.devices import Device, open_session
from edgelr.devices.attach import open_transport
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import capture
from edgelr.quantization import Quantized, calibrate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RUN = Path(__file__).resolve().parents[2] / "tools" / "board" / "board.py"
CORES = ("cortex-a72", "cortex-a76")


class Running:
    """A board that was started by the command that a maintainer types; it ends with its standard input."""

    def __init__(self, folder: str, core: str) -> None:
        argv = [sys.executable, str(RUN), "--folder", folder, "run", "--core", core]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout and self._process.stderr
        told = [self._process.stdout.readline().strip() for _ in range(3)]
        if not told[2]:
            pytest.fail(f"the board doesn't boot: {self._process.stderr.read()}")
        self.core, self.config, self.address = core, told[1].partition("=")[2], told[2]

    def stop(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module", params=CORES)
def _board(request: pytest.FixtureRequest) -> Iterator[Running]:
    folder = os.environ.get("EDGELR_BOARD")
    if not folder:
        pytest.skip("EDGELR_BOARD names no folder with a board: python tools/board/board.py --folder FOLDER build")
    needs("qemu-system-aarch64", "ssh", "ssh-keygen", "timeout")
    running = Running(folder, request.param)
    yield running
    running.stop()


@pytest.fixture
def board(_board: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("EDGELR_SSH_CONFIG", _board.config)
    return _board


@pytest.fixture(scope="module")
def quantized() -> Quantized:
    x, _ = samples(64, 1)
    return calibrate(capture(network(), (1, 8, 8)), [torch.from_numpy(x)])


def test_it_says_what_its_processor_says(board: Running) -> None:
    with Device(open_transport(board.address)) as device:
        told = device.describe()
        assert told.core == board.core and told.machine == "aarch64" and told.system.startswith("Linux")
        assert ("asimddp" in told.flags) == (board.core == "cortex-a76")
        assert told.emulator and not device.timed
        assert set(told.runtimes) == {"litert", "onnxruntime"}


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_its_outputs_are_this_machine_s_bit_for_bit(board: Running, quantized: Quantized, format: Literal["tflite", "onnx"]) -> None:
    data = tflite_bytes(quantized) if format == "tflite" else onnx_bytes(quantized)
    session = open_session(data, format, as_meant=True)
    raw = session.raw(samples(32, 9)[0])
    session.close()
    runtime = "litert" if format == "tflite" else "onnxruntime"
    with Device(open_transport(board.address)) as device, Device(open_transport("local")) as here:
        (there,), (own,) = (d.run(data, [raw], runtime=runtime) for d in (device, here))  # type: ignore[arg-type]
    assert len(np.unique(own)) > 20  # or equal outputs would say nothing
    assert there.dtype == own.dtype
    np.testing.assert_array_equal(there, own)


def test_none_of_its_times_is_a_measurement(board: Running, inputs: Path, tmp_path: Path) -> None:
    target = {"cortex-a72": "raspberry-pi-4", "cortex-a76": "raspberry-pi-5"}[board.core]
    there, model = f"{target}@{board.address}", words(inputs)[0]
    out, table = tmp_path / "out", tmp_path / "table.tsv"
    attempts = (
        edgelr("profile", model, "--input", "1x1x8x8", "--target", there, "--json", "-q"),
        edgelr("compress", *words(inputs), "--target", there, "--budget", "5ms", "-o", str(out), *SHORT, "--json", "-q"),
        edgelr("table", "build", there, "--runtime", "litert", "--numbers", "int8", "-o", str(table), "--json", "-q"),
    )
    for done in attempts:
        assert done.code == 7 and "linux,dummy-virt" in done.err, done.err
        assert '"measured"' not in done.out
    assert not list(tmp_path.iterdir())
