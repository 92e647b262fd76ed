"""How an .onnx spells a recurrent layer: ONNX's LSTM and GRU, ONNX Runtime's dynamic LSTM, or a Scan over the steps."""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgelr.graph.arithmetic import quantize_weights
from edgelr.graph.ops.base import NodeLike, OnnxSpeller
from edgelr.graph.ops.gates import LOOP_ORDER, GateMatrix, RecurrentLayer

MICROSOFT = "com.microsoft"
# The order of ONNX's gates by torch's: i, o, f, c of i, f, g, o; z, r, h of r, z, n.
FUSED_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}


def write(w: OnnxSpeller, node: NodeLike, op: RecurrentLayer) -> None:
    """Write the layer as its form and its numbers ask."""
    dynamic, projected = w.numbers(node.name) == "dynamic", op.projection is not None
    if op.form == "loop" or (dynamic and (op.kind == "GRU" or projected)):  # ONNX Runtime has no fused operation for these
        w.write(node.name, _loop(w, node, op, dynamic))
    else:
        w.write(node.name, _fused(w, node, op, dynamic))


def _ints(w: OnnxSpeller, *values: int) -> Any:
    return w.constant("", np.array(values, np.int64))


def _array(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


def _fused(w: OnnxSpeller, node: NodeLike, op: RecurrentLayer, dynamic: bool) -> Any:
    """A projection is multiplied into the recurrent matrix, and done behind for all steps at once: ONNX has none inside."""
    name, order, hr = node.name, FUSED_ORDER[op.kind], op.projection
    ih = op.ih.reordered(order).dense()
    hh = op.hh.reordered(order).dense() if hr is None else op.hh.reordered(order).dense() @ hr
    bias = np.concatenate([_array(torch.cat([b.chunk(op.gates)[g] for g in order])) for b in (op.bias_ih, op.bias_hh)])[None]
    x = w.emit("Transpose", [w.read(node.inputs[0])], f"{name}/steps", perm=[1, 0, 2])
    attributes: dict[str, Any] = {"hidden_size": op.hidden, "direction": "reverse" if op.reverse else "forward"}
    outputs = 2 if op.last else 1
    if dynamic:
        (ih_q, ih_scale), (hh_q, hh_scale) = (_stored(m, op.weight_max) for m in (ih, hh))
        zero = w.constant("", np.zeros((1, len(ih_scale)), np.int8))
        inputs = [x, w.constant("", ih_q[None]), w.constant("", hh_q[None]), w.reals(bias), None, None, None, None,
                  w.reals(ih_scale[None]), zero, w.reals(hh_scale[None]), zero]
        result = w.emit("DynamicQuantizeLSTM", inputs, name, domain=MICROSOFT, outputs=outputs, **attributes)
    else:
        if op.kind == "GRU":
            attributes["linear_before_reset"] = 1
        inputs = [x, w.reals(_array(ih)[None]), w.reals(_array(hh)[None]), w.reals(bias)]
        result = w.emit(op.kind, inputs, name, outputs=outputs, **attributes)
    if op.last:  # the final state, [1, batch, hidden]
        y = w.emit("Transpose", [result[1]], f"{name}/batch", perm=[1, 0, 2])
    else:
        y = w.emit("Transpose", [w.emit("Squeeze", [result, _ints(w, 1)], f"{name}/direction")], f"{name}/batch", perm=[1, 0, 2])
    return y if hr is None else w.emit("MatMul", [y, w.reals(_array(hr).T)], f"{name}/projection")


def _stored(matrix: Tensor, weight_max: int) -> tuple[Any, Any]:
    """int8 [inputs, rows] and float32 [rows] of a matrix [rows, inputs]."""
    q = quantize_weights(matrix, torch.zeros(matrix.shape[0]), 1.0, weight_max)
    return np.ascontiguousarray(q.weight.numpy().T), q.scale.numpy()


def _product(w: OnnxSpeller, x: Any, matrix: Tensor, bias: Tensor | None, weight_max: int) -> Any:
    """x @ matrix.T + bias, in float where ``weight_max`` is 0."""
    if weight_max:
        values, scale = _stored(matrix, weight_max)
        inputs = [x, w.constant("", values), w.reals(scale), w.constant("", np.zeros(len(scale), np.int8))]
        return w.emit("DynamicQuantizeMatMul", inputs if bias is None else [*inputs, w.reals(_array(bias))], "", domain=MICROSOFT)
    result = w.emit("MatMul", [x, w.reals(_array(matrix).T)], "")
    return result if bias is None else w.emit("Add", [result, w.reals(_array(bias))], "")


def _matrix(w: OnnxSpeller, x: Any, matrix: GateMatrix, bias: Tensor | None, weight_max: int) -> Any:
    """All gates' products of x, factor by factor."""
    if matrix.right is None:
        return _product(w, x, matrix.left[0], bias, weight_max)
    inner = _product(w, x, matrix.right, None, weight_max)
    if len(matrix.left) == 1:
        return _product(w, inner, matrix.left[0], bias, weight_max)
    parts = _cut(w, inner, *(m.shape[1] for m in matrix.left))
    biases = [None] * len(parts) if bias is None else bias.chunk(len(parts))
    return w.emit("Concat", [_product(w, p, m, b, weight_max) for p, m, b in zip(parts, matrix.left, biases, strict=True)], "", axis=-1)


def _cut(w: OnnxSpeller, x: Any, *sizes: int) -> Any:
    return w.emit("Split", [x, _ints(w, *sizes)], "", outputs=len(sizes), axis=-1)


def _loop(w: OnnxSpeller, node: NodeLike, op: RecurrentLayer, dynamic: bool) -> Any:
    """The input's part of the gates for all steps at once, then a Scan over them."""
    order, x, weight_max = LOOP_ORDER[op.kind], w.read(node.inputs[0]), op.weight_max if dynamic else 0
    bias_ih, bias_hh = (torch.cat([b.chunk(op.gates)[g] for g in order]) for b in (op.bias_ih, op.bias_hh))
    joined = op.kind == "LSTM"  # where a GRU's reset gate scales the recurrent part its bias is scaled too
    gates = _matrix(w, x, op.ih.reordered(order), bias_ih + bias_hh if joined else bias_ih, weight_max)
    steps = w.emit("Transpose", [gates], f"{node.name}/steps", perm=[1, 0, 2])
    batch = w.emit("Shape", [x], f"{node.name}/size", start=0, end=1)
    sizes = [op.outputs, op.hidden] if joined else [op.hidden]
    zeros = [w.emit("ConstantOfShape", [w.emit("Concat", [batch, _ints(w, n)], "", axis=0)], "") for n in sizes]

    def body(*arguments: Any) -> list[Any]:
        *state, gate = arguments
        after = _cell(w, op, state, gate, bias_hh, weight_max)
        return [*after, w.emit("Identity", [after[0]], "")]

    inner = w.body(body, [*sizes, op.gates * op.hidden])
    way = [int(op.reverse)]
    *final, outputs = w.emit("Scan", [*zeros, steps], node.name, outputs=len(sizes) + 1, body=inner, num_scan_inputs=1,
                             scan_input_directions=way, scan_output_directions=way)
    if op.last:
        return w.emit("Unsqueeze", [final[0], _ints(w, 1)], f"{node.name}/batch")
    return w.emit("Transpose", [outputs], f"{node.name}/batch", perm=[1, 0, 2])


def _cell(w: OnnxSpeller, op: RecurrentLayer, state: list[Any], gates: Any, bias_hh: Tensor, weight_max: int) -> list[Any]:
    """The state after one step."""
    n, hh = op.hidden, op.hh.reordered(LOOP_ORDER[op.kind])
    if op.kind == "LSTM":
        bent, fresh = _cut(w, w.emit("Add", [gates, _matrix(w, state[0], hh, None, weight_max)], ""), 3 * n, n)
        i, f, o = _cut(w, w.emit("Sigmoid", [bent], ""), n, n, n)
        new = w.emit("Mul", [i, w.emit("Tanh", [fresh], "")], "")
        cell = w.emit("Add", [w.emit("Mul", [f, state[1]], ""), new], "")
        out = w.emit("Mul", [o, w.emit("Tanh", [cell], "")], "")
        hr = op.projection
        return [out if hr is None else _product(w, out, hr, None, weight_max), cell]
    bent, fresh = _cut(w, _matrix(w, state[0], hh, bias_hh, weight_max), 2 * n, n)
    x_bent, x_fresh = _cut(w, gates, 2 * n, n)
    r, z = _cut(w, w.emit("Sigmoid", [w.emit("Add", [bent, x_bent], "")], ""), n, n)
    new = w.emit("Tanh", [w.emit("Add", [x_fresh, w.emit("Mul", [r, fresh], "")], "")], "")
    return [w.emit("Add", [new, w.emit("Mul", [z, w.emit("Sub", [state[0], new], "")], "")], "")]
