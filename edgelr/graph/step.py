"""A recurrent network as one step of itself, its states in and out: the form for streams, whose samples come one by one."""
from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgelr.errors import UnsupportedError
from edgelr.graph.ir import Graph, Node, State
from edgelr.graph.ops import (
    Add,
    Concat,
    Linear,
    Mul,
    MulConstant,
    Op,
    Requantize,
    Shift,
    Sigmoid,
    Slice,
    Tanh,
)
from edgelr.graph.ops.gates import LOOP_ORDER, GateMatrix
from edgelr.graph.ops.recurrent import Recurrent

# What works on each step alone, whatever its attributes.
STEPWISE = (Add, Linear, Mul, MulConstant, Requantize, Shift, Sigmoid, Tanh)


def step_network(graph: Graph) -> Graph:
    """From a network over a sequence [time, features] to one over a step [1, features]: its output is the network's after that step.

    Each recurrent layer NAME has the states NAME/h and, an LSTM, NAME/c, [1, width], and becomes operations of its own. What lies before
    and between recurrent layers must work on each step alone; behind, the network may read the last step only. Raises UnsupportedError
    naming what does not.
    """
    time = graph.shapes[graph.input][0]
    if not any(isinstance(n.op, Recurrent) for n in graph.nodes):
        raise UnsupportedError("the network has no recurrent layer, so it has no step", "nothing would be carried from step to step",
                               "write it over whole inputs")
    cell = _Cells()
    sequences = {graph.input}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(renamed.get(i, i) for i in node.inputs)
        if not sequences.intersection(node.inputs):
            cell.nodes.append(Node(node.name, node.op, inputs))
            continue
        if isinstance(node.op, Recurrent):
            if node.op.reverse:
                raise _refused(node.name, "it runs from the end of the sequence", "train the network without bidirectional=True")
            renamed[node.name] = cell.add_layer(node.name, node.op, inputs[0])
            if not node.op.last:
                sequences.add(node.name)
        elif isinstance(node.op, Slice) and node.op.axis == 0:
            if (node.op.start, node.op.stop) != (time - 1, time):
                raise _refused(node.name, "it reads other steps than the last", "read the last step, output[:, -1]")
            renamed[node.name] = inputs[0]
        elif _stepwise(node.op) and all(i in sequences for i in node.inputs):
            cell.nodes.append(Node(node.name, node.op, inputs))
            sequences.add(node.name)
        else:
            why = f"{type(node.op).__name__} works on more than one step"
            raise _refused(node.name, why, "read the last step of the recurrent layer only")
    output = renamed.get(graph.output, graph.output)
    return Graph.build(graph.input, (1, *graph.shapes[graph.input][1:]), cell.nodes, output, tuple(cell.states))


def _stepwise(op: Op) -> bool:
    if isinstance(op, Slice | Concat):
        return op.axis > 0
    return isinstance(op, STEPWISE) and not (isinstance(op, MulConstant) and op.value.dim() > 1 and op.value.shape[0] > 1)


def _refused(name: str, why: str, advice: str) -> UnsupportedError:
    return UnsupportedError(f"{name}: the network can't be cut into steps", why, f"{advice}, or write the network over whole sequences")


def run_step(graph: Graph, x: Tensor, states: Mapping[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """One step over a batch: the output, and the states for the next call by the names of ``State.before`` (zeros where none are given)."""
    values = {graph.input: x} | {s.before: x.new_zeros(len(x), *s.shape) if states is None else states[s.before] for s in graph.states}
    for node in graph.nodes:
        values[node.name] = node.op.run(*(values[i] for i in node.inputs))
    return values[graph.output], {s.before: values[s.after] for s in graph.states}


class _Cells:
    """The step network's nodes and states so far."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.states: list[State] = []

    def add(self, name: str, op: Op, *inputs: str) -> str:
        self.nodes.append(Node(name, op, inputs))
        return name

    def matrix(self, name: str, x: str, matrix: GateMatrix, bias: Tensor) -> str:
        """All gates' products of x, factor by factor."""
        if matrix.right is None:
            return self.add(name, Linear(matrix.left[0], bias), x)
        inner = self.add(f"{name}.0", Linear(matrix.right, torch.zeros(matrix.right.shape[0])), x)
        if len(matrix.left) == 1:
            return self.add(f"{name}.1", Linear(matrix.left[0], bias), inner)
        at, parts = 0, []
        for i, (left, part) in enumerate(zip(matrix.left, bias.chunk(len(matrix.left)), strict=True)):
            piece = self.add(f"{name}.0/{i}", Slice(1, at, at + left.shape[1]), inner)
            parts.append(self.add(f"{name}.1.{i}", Linear(left, part), piece))
            at += left.shape[1]
        return self.add(f"{name}/gates", Concat(1), *parts)

    def add_layer(self, name: str, op: Recurrent, x: str) -> str:
        """A layer's step; its output's name. Gates that a sigmoid bends come first."""
        order, n = LOOP_ORDER[op.kind], op.hidden
        bias_ih, bias_hh = (torch.cat([b.chunk(op.gates)[g] for g in order]) for b in (op.bias_ih, op.bias_hh))
        before = f"{name}/h"
        gates = self.matrix(f"{name}/ih", x, op.ih.reordered(order), bias_ih)
        again = self.matrix(f"{name}/hh", before, op.hh.reordered(order), bias_hh)
        bends = (op.gates - 1) * n
        if op.kind == "LSTM":
            total = self.add(f"{name}/gates", Add(), gates, again)
            bent = self.add(f"{name}/bent", Sigmoid(), self.add(f"{name}/bends", Slice(1, 0, bends), total))
            fresh = self.add(f"{name}/fresh", Tanh(), self.add(f"{name}/g", Slice(1, bends, bends + n), total))
            i, f, o = (self.add(f"{name}/{gate}", Slice(1, k * n, (k + 1) * n), bent) for k, gate in enumerate("ifo"))
            kept = self.add(f"{name}/kept", Mul(), f, f"{name}/c")
            cell = self.add(f"{name}/cell", Add(), kept, self.add(f"{name}/new", Mul(), i, fresh))
            output = self.add(name, Mul(), o, self.add(f"{name}/tanh", Tanh(), cell))
            hr = op.projection
            if hr is not None:
                output = self.add(f"{name}/projection", Linear(hr, torch.zeros(hr.shape[0])), output)
            self.states += [State(before, output, (1, op.outputs)), State(f"{name}/c", cell, (1, n))]
            return output
        total = self.add(f"{name}/gates", Add(), *(self.add(f"{v}/rz", Slice(1, 0, bends), v) for v in (gates, again)))
        bent = self.add(f"{name}/bent", Sigmoid(), total)
        r, z = (self.add(f"{name}/{gate}", Slice(1, k * n, (k + 1) * n), bent) for k, gate in enumerate("rz"))
        x_new, h_new = (self.add(f"{v}/n", Slice(1, bends, bends + n), v) for v in (gates, again))
        fresh = self.add(f"{name}/fresh", Tanh(), self.add(f"{name}/n", Add(), x_new, self.add(f"{name}/reset", Mul(), r, h_new)))
        behind = self.add(f"{name}/behind", Add(), before, self.add(f"{name}/minus", MulConstant(-torch.ones(1, 1)), fresh))
        output = self.add(name, Add(), fresh, self.add(f"{name}/old", Mul(), z, behind))  # (1 - z) n + z h = n + z (h - n)
        self.states.append(State(before, output, (1, n)))
        return output
