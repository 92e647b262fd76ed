"""Which networks can be cut into steps, and what is told about the others."""
from __future__ import annotations

import pytest
import torch
from recurrent_sample import RecurrentNet
from torch import Tensor, nn

from edgelr.errors import UnsupportedError
from edgelr.graph import capture
from edgelr.graph.step import run_step, step_network


def test_a_step_gives_the_output_of_every_step() -> None:
    model = RecurrentNet("LSTM", "sequence", True, num_layers=2).eval()
    step = step_network(capture(model, (7, 6)))
    assert [s.before for s in step.states] == ["rnn.l0/h", "rnn.l0/c", "rnn.l1/h", "rnn.l1/c"]
    x, states = torch.randn(2, 7, 6), None
    with torch.no_grad():
        want = model(x)
        for t in range(7):
            y, states = run_step(step, x[:, t : t + 1], states)
            assert torch.allclose(y[:, 0], want[:, t], atol=1e-5)


class Odd(nn.Module):
    def __init__(self, use: str) -> None:
        super().__init__()
        self.use, self.rnn, self.conv = use, nn.GRU(6, 8, batch_first=True), nn.Conv1d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.use == "convolution over time":
            x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        y = self.rnn(x)[0]
        return y.mean(1) if self.use == "mean over time" else y[:, 3] if self.use == "another step" else y[:, -1]


@pytest.mark.parametrize("use", ["convolution over time", "mean over time", "another step"])
def test_what_needs_more_than_a_step_is_refused_by_name(use: str) -> None:
    with pytest.raises(UnsupportedError, match="can't be cut into steps"):
        step_network(capture(Odd(use).eval(), (7, 6)))


def test_both_directions_and_no_recurrent_layer_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"rnn\.l0_reverse.*|end of the sequence"):
        step_network(capture(RecurrentNet("GRU", "last", True, bidirectional=True).eval(), (7, 6)))
    with pytest.raises(UnsupportedError, match="no recurrent layer"):
        step_network(capture(nn.Linear(6, 3).eval(), (7, 6)))
