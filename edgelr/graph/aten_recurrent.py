"""ATen's recurrent networks: each layer and direction becomes one operation."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgelr.graph.aten import At, NotSupportedError, Site, rule
from edgelr.graph.batch import FIRST, Batch
from edgelr.graph.ops import Concat, Slice
from edgelr.graph.ops.recurrent import GateMatrix, Gru, Lstm, Recurrent

SECOND = Batch(1)


@dataclass(frozen=True)
class Refused:
    """A result that has no form here: ``why`` is told where something reads it."""

    why: str


@rule("lstm.input")
def lstm(s: Site, x: str, state: Sequence[Any], parameters: Sequence[Tensor], biases: bool, layers: int, dropout: float, training: bool,
         both: bool, batch_first: bool) -> list[Any]:
    _zeros(state)
    output, final = _layers(s, x, Lstm, parameters, biases, layers, both, batch_first)
    return [output, final, Refused("the cell state of an nn.LSTM (c_n) is read, which no file gives: use the output or h_n")]


@rule("gru.input")
def gru(s: Site, x: str, state: Any, parameters: Sequence[Tensor], biases: bool, layers: int, dropout: float, training: bool,
        both: bool, batch_first: bool) -> list[Any]:
    _zeros([state])
    return _layers(s, x, Gru, parameters, biases, layers, both, batch_first)


@rule("lstm.data", "gru.data", "rnn_tanh.data", "rnn_relu.data", "_pack_padded_sequence.default", "_pad_packed_sequence.default")
def packed(s: Site, *_: Any, **__: Any) -> str:
    raise NotSupportedError("packed sequences, whose lengths differ between samples: feed sequences of one length, padded by yourself")


@rule("rnn_tanh.input", "rnn_relu.input", "lstm_cell.default", "gru_cell.default", "rnn_tanh_cell.default", "rnn_relu_cell.default")
def other(s: Site, *_: Any, **__: Any) -> str:
    raise NotSupportedError("of the recurrent layers nn.LSTM and nn.GRU have a form here: use one of them over the whole sequence")


def _zeros(states: Sequence[Any]) -> None:
    """Raise NotSupportedError unless the initial states are zeros."""
    for state in states:
        if not isinstance(state, Tensor):
            raise NotSupportedError("an initial state that depends on the input: leave it out, which means zeros")
        if bool(state.detach().any()):
            raise NotSupportedError("an initial state that is not zeros: leave it out, which means zeros")


def _layers(s: Site, x: str, kind: type[Recurrent], parameters: Sequence[Tensor], biases: bool, layers: int, both: bool,
            batch_first: bool) -> list[At]:
    """The output, and the final states of all layers and directions one above the other."""
    if s.batch != (FIRST if batch_first else SECOND):
        where = "first" if batch_first else "second"
        advice = "" if batch_first else ": make it with batch_first=True, or transpose(0, 1) its input before"
        raise NotSupportedError(f"batch_first={batch_first} needs the samples on the {where} axis, and would run over them here{advice}")
    directions = 2 if both else 1
    each = len(parameters) // (layers * directions)
    finals = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            at = (layer * directions + direction) * each
            name = s.owner if layers == directions == 1 else f"{s.owner}.l{layer}{'_reverse' if direction else ''}"
            output = s.b.add(name, _operation(kind, parameters[at : at + each], biases, bool(direction)), x)
            time = s.b.shapes[output][0]
            start = 0 if direction else time - 1
            finals.append(output if time == 1 else s.b.add(f"{name}/final", Slice(0, start, start + 1), output))
            outputs.append(output)
        x = outputs[0] if len(outputs) == 1 else s.b.add(f"{s.owner}.l{layer}/both", Concat(1), *outputs)
    final = finals[0] if len(finals) == 1 else s.b.add(f"{s.owner}/finals", Concat(0), *finals)
    return [At(x, s.batch), At(final, SECOND)]


def _operation(kind: type[Recurrent], parameters: Sequence[Tensor], biases: bool, reverse: bool) -> Recurrent:
    ih, hh = parameters[:2]
    bias_ih, bias_hh = parameters[2:4] if biases else (torch.zeros(ih.shape[0]), torch.zeros(ih.shape[0]))
    matrices = GateMatrix((ih,)), GateMatrix((hh,)), bias_ih, bias_hh
    return Lstm(*matrices, reverse, hr=parameters[-1]) if len(parameters) in (3, 5) else kind(*matrices, reverse)
