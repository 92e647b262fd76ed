"""How a .tflite spells a recurrent layer: TFLite's fused LSTM, or a WHILE over the steps.

The WHILE was faster than the fused LSTM at nearly every size tried (hidden 64 to 512; tools/bench_recurrent.py): XNNPACK takes the
loop's operations and not the fused one. There is no fused GRU.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from edgelr.graph.arithmetic import quantize_weights
from edgelr.graph.ops.base import Array, NodeLike, TfliteSpeller
from edgelr.graph.ops.gates import LOOP_ORDER, GateMatrix, RecurrentLayer

STEPS = 5  # of one turn of the loop, at most: a turn copies the whole output once
CACHED = 2 << 20  # bytes of recurrent matrices above which a turn has one step: XNNPACK packs them for each step, and reads each pack


def steps_of_turn(time: int, matrix_bytes: int) -> int:
    """How many of ``time`` steps a turn of the loop takes, with recurrent matrices of ``matrix_bytes``."""
    return max(n for n in range(1, STEPS + 1) if time % n == 0) if matrix_bytes <= CACHED else 1


def write(w: TfliteSpeller, node: NodeLike, op: RecurrentLayer) -> None:
    """Write the layer as its form and its numbers ask. Raises UnsupportedError where convolutions hold the sequence channels last."""
    if w.order(node.inputs[0]) != [0, 1, 2] or w.order(node.name) != [0, 1, 2]:
        raise w.unsupported(node.name, f"a{'n' if op.kind == 'LSTM' else ''} {op.kind} on a tensor that convolutions hold channels last")
    if op.form == "fused" and op.kind == "LSTM":
        _fused(w, node, op)
    else:
        _Loop(w, node, op).write()


def _array(tensor: Tensor) -> Array:
    return tensor.detach().numpy()


def _fused(w: TfliteSpeller, node: NodeLike, op: RecurrentLayer) -> None:
    """The operation keeps its state from call to call, so it is set to zeros before."""
    dynamic, hr = w.numbers(node.name) == "dynamic", op.projection
    time, features = w.torch_shape(node.inputs[0])

    def stored(matrix: Tensor) -> int:  # the kernel knows one scale for each gate's matrix
        if not dynamic:
            return w.reals("", _array(matrix))
        scale = np.float32(max(float(matrix.detach().abs().max()) / 127, 1e-12))
        return w.weights(np.clip(np.rint(_array(matrix) / scale), -127, 127).astype(np.int8), scale)

    x = w.read(node.inputs[0])
    backwards = w.ints("", [1])
    if op.reverse:
        turned = w.tensor("FLOAT32", [1, time, features])
        w.emit("REVERSE_V2", 1, [x, backwards], turned, "ReverseV2")
        x = turned
    states = []
    for n in (op.outputs, op.hidden):  # zeros like a constant: like the state itself makes tflite-runtime 2.14 crash behind a delegate
        states.append(w.tensor("FLOAT32", [1, n], variable=True))
        w.emit("ZEROS_LIKE", 1, [w.reals("", np.zeros((1, n)))], states[-1])
    bias = op.bias_ih + op.bias_hh
    gates = [[stored(m) for m in matrix.dense().chunk(4)] for matrix in (op.ih, op.hh)]
    inputs = [x, *gates[0], *gates[1], *[-1] * 3, *(w.reals("", _array(b)) for b in bias.chunk(4)),
              -1 if hr is None else stored(hr), -1, *states, *[-1] * 4]
    whole = not (op.reverse or op.last)
    y = w.write(node.name) if whole else w.tensor("FLOAT32", [1, time, op.outputs])
    w.emit("UNIDIRECTIONAL_SEQUENCE_LSTM", 3 if dynamic else 1, inputs, y, "UnidirectionalSequenceLSTM", fusedActivationFunction="TANH")
    if op.last:
        w.emit("SLICE", 2, [y, w.ints("", [0, time - 1, 0]), w.ints("", [1, 1, op.outputs])], w.write(node.name), "Slice")
    elif op.reverse:
        w.emit("REVERSE_V2", 1, [y, backwards], w.write(node.name), "ReverseV2")


class _Loop:
    """A WHILE whose turns run several steps each. Its variables: the step, the input's part of all gates, the output, the state."""

    def __init__(self, w: TfliteSpeller, node: NodeLike, op: RecurrentLayer) -> None:
        self.w, self.node, self.op = w, node, op
        self.dynamic = w.numbers(node.name) == "dynamic"
        self.time = w.torch_shape(node.inputs[0])[0]
        self.steps = steps_of_turn(self.time, sum(m.numel() for m in op.hh.parts()) * (1 if self.dynamic else 4))
        self.hr: Tensor | None = op.projection
        order = LOOP_ORDER[op.kind]
        self.ih, self.hh = op.ih.reordered(order), op.hh.reordered(order)
        self.bias_ih, self.bias_hh = (torch.cat([b.chunk(op.gates)[g] for g in order]) for b in (op.bias_ih, op.bias_hh))
        self.width = op.gates * op.hidden
        self.states = [op.outputs, op.hidden] if op.kind == "LSTM" else [op.hidden]

    def write(self) -> None:
        w, op, t = self.w, self.op, self.time
        joined = op.kind == "LSTM"  # where a GRU's reset gate scales the recurrent part its bias is scaled too
        gates = self._matrix(w.read(self.node.inputs[0]), [1, t], self.ih, self.bias_ih + self.bias_hh if joined else self.bias_ih)
        rows = self._reshape(gates, [t, self.width])
        first = t - self.steps if op.reverse else 0
        variables = [w.ints("", [first]), rows]
        if not op.last:
            empty = self._real(t, op.outputs)
            w.emit("FILL", 1, [w.ints("", [t, op.outputs]), w.reals("", np.float32(0))], empty, "Fill")
            variables.append(empty)
        variables += [w.reals("", np.zeros((1, n))) for n in self.states]
        results = self._variables()
        condition, body = w.subgraph(self._condition), w.subgraph(self._body)
        w.emit("WHILE", 1, variables, results, "While", condSubgraphIndex=condition, bodySubgraphIndex=body)
        self._reshape(results[2], w.shape(self.node.name), w.write(self.node.name))

    def _variables(self) -> list[int]:
        """Tensors for the variables; the third is the output, or the state that is the output."""
        shapes = [[self.time, self.width], *([] if self.op.last else [[self.time, self.op.outputs]]), *([1, n] for n in self.states)]
        return [self.w.tensor("INT32", [1]), *(self._real(*s) for s in shapes)]

    def _condition(self) -> tuple[list[int], list[int]]:
        w, variables = self.w, self._variables()
        more = w.tensor("BOOL", [1])
        inputs = [w.ints("", [-1]), variables[0]] if self.op.reverse else [variables[0], w.ints("", [self.time])]
        w.emit("LESS", 1, inputs, more, "Less")
        return variables, [more]

    def _body(self) -> tuple[list[int], list[int]]:
        w, op, variables = self.w, self.op, self._variables()
        step, gates = variables[:2]
        zero = w.ints("", [0])
        place = w.tensor("INT32", [2])
        w.emit("CONCATENATION", 1, [step, zero], place, "Concatenation", axis=0, fusedActivationFunction="NONE")
        rows = [self._real(self.steps, self.width)]
        w.emit("SLICE", 1, [gates, place, w.ints("", [self.steps, self.width])], rows[0], "Slice")
        if self.steps > 1:
            here, rows = rows[0], [self._real(1, self.width) for _ in range(self.steps)]
            w.emit("SPLIT", 1, [w.ints("", np.int32(0)), here], rows, "Split", numSplits=self.steps)
        state = variables[-len(self.states):]
        outputs = []
        for row in reversed(rows) if op.reverse else rows:
            state = self._cell(row, state)
            outputs.append(state[0])
        after = w.tensor("INT32", [1])
        w.emit("ADD", 1, [step, w.ints("", [-self.steps if op.reverse else self.steps])], after, "Add", fusedActivationFunction="NONE")
        if op.last:
            return variables, [after, gates, *state]
        if op.reverse:
            outputs.reverse()
        whole = self._real(self.time, op.outputs)
        w.emit("DYNAMIC_UPDATE_SLICE", 1, [variables[2], self._joined(outputs, op.outputs, 0), place], whole)
        return variables, [after, gates, whole, *state]

    def _cell(self, gates: int, state: list[int]) -> list[int]:
        """The state after one step."""
        n = self.op.hidden
        if self.op.kind == "LSTM":
            bent, fresh = self._cut(self._two("ADD", gates, self._matrix(state[0], [1], self.hh, None), 4 * n), 3 * n, n)
            i, f, o = self._cut(self._one("LOGISTIC", bent, 3 * n), n, n, n)
            new = self._two("MUL", i, self._one("TANH", fresh, n), n)
            cell = self._two("ADD", self._two("MUL", f, state[1], n), new, n)
            out = self._two("MUL", o, self._one("TANH", cell, n), n)
            return [out if self.hr is None else self._product(out, [1], self.hr, None), cell]
        bent, fresh = self._cut(self._matrix(state[0], [1], self.hh, self.bias_hh), 2 * n, n)
        x_bent, x_fresh = self._cut(gates, 2 * n, n)
        r, z = self._cut(self._one("LOGISTIC", self._two("ADD", bent, x_bent, 2 * n), 2 * n), n, n)
        new = self._one("TANH", self._two("ADD", x_fresh, self._two("MUL", r, fresh, n), n), n)
        return [self._two("ADD", new, self._two("MUL", z, self._two("SUB", state[0], new, n), n), n)]

    def _real(self, *shape: int) -> int:
        return self.w.tensor("FLOAT32", shape)

    def _one(self, code: str, a: int, n: int) -> int:
        result = self._real(1, n)
        self.w.emit(code, 1, [a], result)
        return result

    def _two(self, code: str, a: int, b: int, n: int) -> int:
        result = self._real(1, n)
        self.w.emit(code, 1, [a, b], result, code.capitalize(), fusedActivationFunction="NONE")
        return result

    def _cut(self, x: int, *sizes: int) -> list[int]:
        results = [self._real(1, n) for n in sizes]
        self.w.emit("SPLIT_V", 1, [x, self.w.ints("", sizes), self.w.ints("", np.int32(1))], results, "SplitV", numSplits=len(sizes))
        return results

    def _joined(self, parts: Sequence[int], width: int, axis: int) -> int:
        if len(parts) == 1:
            return parts[0]
        result = self._real(*((len(parts), width) if axis == 0 else (1, width)))
        self.w.emit("CONCATENATION", 1, parts, result, "Concatenation", axis=axis, fusedActivationFunction="NONE")
        return result

    def _reshape(self, x: int, shape: Sequence[int], result: int | None = None) -> int:
        result = self._real(*shape) if result is None else result
        self.w.emit("RESHAPE", 1, [x, self.w.ints("", shape)], result, "Reshape", newShape=list(shape))
        return result

    def _product(self, x: int, lead: list[int], matrix: Tensor, bias: Tensor | None) -> int:
        """x @ matrix.T + bias, for x [*lead, inputs]."""
        w, result = self.w, self._real(*lead, matrix.shape[0])
        if self.dynamic:
            q = quantize_weights(matrix, torch.zeros(matrix.shape[0]), 1.0, self.op.weight_max)
            weight = w.weights(q.weight.numpy(), q.scale.numpy())
        else:
            weight = w.reals("", _array(matrix))
        w.emit("FULLY_CONNECTED", 5, [x, weight, -1 if bias is None else w.reals("", _array(bias))], result, "FullyConnected",
               fusedActivationFunction="NONE", keepNumDims=True, asymmetricQuantizeInputs=self.dynamic)
        return result

    def _matrix(self, x: int, lead: list[int], matrix: GateMatrix, bias: Tensor | None) -> int:
        """All gates' products of x, factor by factor."""
        if matrix.right is None:
            return self._product(x, lead, matrix.left[0], bias)
        inner = self._product(x, lead, matrix.right, None)
        if len(matrix.left) == 1:
            return self._product(inner, lead, matrix.left[0], bias)
        w, axis, biases = self.w, len(lead), [None] * len(matrix.left) if bias is None else bias.chunk(len(matrix.left))
        parts = [self._real(*lead, m.shape[1]) for m in matrix.left]
        sizes = w.ints("", [m.shape[1] for m in matrix.left])
        w.emit("SPLIT_V", 1, [inner, sizes, w.ints("", np.int32(axis))], parts, "SplitV", numSplits=len(parts))
        products = [self._product(p, lead, m, b) for p, m, b in zip(parts, matrix.left, biases, strict=True)]
        result = self._real(*lead, matrix.rows)
        w.emit("CONCATENATION", 1, products, result, "Concatenation", axis=axis, fusedActivationFunction="NONE")
        return result
