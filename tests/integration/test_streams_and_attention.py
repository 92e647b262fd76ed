"""Recurrent networks as streams, and networks with attention: asked for as a user asks, they hold in the files."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgelr import Data, Split, UnsupportedError, compress, load
from edgelr.api import quantize
from edgelr.devices.steps import run_steps
from edgelr.pipeline.recheck import recheck

STEPS, FEATURES, CLASSES = 10, 6, 4


class Stream(nn.Module):
    def __init__(self, bidirectional: bool = False) -> None:
        super().__init__()
        self.rnn = nn.GRU(FEATURES, 24, 2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(48 if bidirectional else 24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.rnn(x)[0][:, -1])
        return result


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Linear(FEATURES, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.encoder(self.entry(x)).mean(1))
        return result


def data() -> Data:
    draw = np.random.default_rng(0)
    parts = [Split(draw.normal(size=(n, STEPS, FEATURES)).astype(np.float32)) for n in (64, 48, 40)]
    return Data(parts[0], parts[1], parts[2], calibration=parts[0])


def test_a_step_network_carries_its_state_and_gives_what_the_whole_one_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, d = Stream().eval(), data()
    report = quantize(net, d, out=tmp_path / "o", streaming=True)
    assert [s.path for s in report.steps] == ["model.step.int8.tflite", "model.step.int8.onnx"]
    x = np.asarray(d.test.x[:])  # type: ignore[union-attr]
    with torch.no_grad():
        want = net(torch.from_numpy(x)).numpy()
    for format in ("tflite", "onnx"):
        got = run_steps((tmp_path / "o" / f"model.step.int8.{format}").read_bytes(), format, x).reshape(want.shape)  # type: ignore[arg-type]
        assert 10 * np.log10(np.square(want).sum() / np.square(want - got).sum()) > 25
    assert any("model.int8.onnx" in line for line in recheck(tmp_path / "o", lambda text: None))


def test_a_gru_in_an_onnx_stays_fused_in_float_where_no_runtime_has_an_integer_one() -> None:
    torch.manual_seed(0)
    report = quantize(Stream().eval(), data(), formats=("onnx",))
    tried = {f.name: f for f in report.forms}
    assert {"int8", "dynamic", "mixed", "int8, loop", "float"} <= set(tried)
    chosen = next(f for f in report.forms if f.chosen)
    assert chosen.name == "mixed" and chosen.latency is not None and tried["int8"].latency is not None
    assert chosen.latency.ms.median < tried["int8"].latency.ms.median


def test_a_network_that_runs_backwards_has_no_steps_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="end of the sequence"):
        quantize(Stream(bidirectional=True).eval(), data(), out=tmp_path / "o", streaming=True)
    assert not (tmp_path / "o").exists()


def test_attention_is_tried_in_every_form_and_each_file_gets_the_fastest(tmp_path: Path) -> None:
    torch.manual_seed(0)
    report = quantize(Encoder().eval(), data(), out=tmp_path / "o")
    for format in ("tflite", "onnx"):
        tried = {f.name: f for f in report.forms if f.format == format}
        assert set(tried) == {"int8", "mixed", "dynamic", "float"} and sum(f.chosen for f in tried.values()) == 1
        chosen = next(f for f in tried.values() if f.chosen)
        assert chosen.name != "float" and chosen.latency is not None
        rivals = [f for n, f in tried.items() if n != "float" and (f.exact or (f.sqnr_db or 99) >= 20)]
        assert all(chosen.latency.ms.median <= 1.03 * f.latency.ms.median for f in rivals if f.latency)
    for artifact in report.artifacts:
        assert artifact.agreement is not None and artifact.agreement > 0.9
        groups = artifact.accounting
        assert sum(g.count for g in groups) == artifact.ops.int8 + artifact.ops.dynamic + artifact.ops.float
        assert all(g.why for g in groups if g.numbers != "int8")


def test_a_factorised_encoder_loads_again_though_its_layers_read_each_other_s_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, d = Encoder().eval(), data()
    report = compress(net, d, budget="92%params", out=tmp_path / "o", method="additive", allow_slower=True, score_samples=32)
    assert any(line.scheme == "linear" for line in report.layers)
    x = torch.from_numpy(np.asarray(d.test.x[:]))  # type: ignore[union-attr]
    with torch.no_grad():
        got, want = load(tmp_path / "o", Encoder())(x).argmax(1), net(x).argmax(1)
    score = next(s.score for s in report.stages if s.name == "factorized")
    assert score is not None and abs(float((got == want).float().mean()) - score.value) < 0.03


def test_the_page_and_the_terminal_tell_of_the_step_s_files(tmp_path: Path) -> None:
    from rich.console import Console

    from edgelr.report.terminal import summary

    report = quantize(Stream().eval(), data(), out=tmp_path / "o", streaming=True, formats=("tflite",))
    assert "model.step.int8.tflite" in (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    console = Console(width=80, record=True, file=StringIO())
    console.print(summary(report))
    assert "one step, states in and out" in console.export_text()
