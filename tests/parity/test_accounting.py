"""Every operator of a file is accounted for once: as the file computes it, with the graph's reason."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper
from parity_cases import CASES
from parity_tools import onnx_of, onnx_session, prepared, tflite_of
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.errors import UnsupportedError
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.export.account import OpRow, account, accounted, unexplained
from edgelr.export.accounting import GIVES_FLOAT, TAKES_FLOAT, UNEXPLAINED
from edgelr.export.computing import GRID_CHANGES, KERNELS, MOVES
from edgelr.graph import Graph, Node, capture
from edgelr.graph.mixed import necessary
from edgelr.graph.ops import Linear
from edgelr.graph.ops.recurrent import GateMatrix, Gru, Lstm, Recurrent
from edgelr.quantization import Quantized, observe, quantize
from edgelr.vocabulary import Kept

WRITERS: dict[Any, Callable[[Quantized], bytes]] = {"tflite": tflite_bytes, "onnx": onnx_bytes}
ASKED = "asked for by this test"


def operators_of(data: bytes, format: str) -> int:
    """Counted by the formats' own libraries, those in bodies too."""
    if format == "tflite":
        return sum(len(g.operators) for g in schema.ModelT.InitFromPackedBuf(data, 0).subgraphs)

    def nodes(graph: onnx.GraphProto) -> int:
        return sum(1 + sum(nodes(a.g) for a in n.attribute if a.HasField("g")) for n in graph.node)

    return nodes(onnx.load_from_string(data).graph)


def checked(q: Quantized, data: bytes, format: Any) -> tuple[OpRow, ...]:
    """The rows, which add up, belong to nodes and give reasons."""
    rows, counted = accounted(q, data, format), account(data, format)
    assert len(rows) == operators_of(data, format) == sum(counted.by_type.values())
    assert Counter(r.numbers for r in rows) == +Counter(int8=counted.int8, dynamic=counted.dynamic, float=counted.float)
    assert Counter(r.type for r in rows) == Counter(counted.by_type)
    assert all(r.node for r in rows)
    assert all((r.by != "") == (r.numbers != "int8") for r in rows)
    assert all(r.why for r in rows if r.by)
    assert not unexplained(rows)
    return rows


def fused(data: bytes, folder: Any) -> Iterator[onnx.NodeProto]:
    """What ONNX Runtime leaves in float between a DequantizeLinear and a QuantizeLinear."""
    onnx_session(data, folder / "fused.onnx")
    graph = onnx.load(folder / "fused.onnx").graph
    makers = {value: node for node in graph.node for value in node.output}
    for node in graph.node:
        if node.op_type not in GRID_CHANGES and node.input[0] in makers and makers[node.input[0]].op_type == "DequantizeLinear":
            yield node


@pytest.mark.parametrize("name", CASES)
def test_an_onnx_is_accounted_for_as_onnx_runtime_computes_it(name: str, tmp_path: Any) -> None:
    data = onnx_of(name)
    rows = checked(prepared(name).q, data, "onnx")
    in_float = sorted((r.name, r.type) for r in rows if r.numbers == "float" and r.type not in GRID_CHANGES)
    assert in_float == sorted((n.name, n.op_type) for n in fused(data, tmp_path))
    assert all(r.by == "necessity" and r.why.endswith(f"ONNX Runtime computes {kind} in float")
               for r in rows if r.numbers == "float" for _, kind in in_float[:1])


@pytest.mark.parametrize("name", CASES)
def test_a_tflite_is_accounted_for(name: str) -> None:
    try:
        data = tflite_of(name)
    except UnsupportedError:
        return
    assert {r.numbers for r in checked(prepared(name).q, data, "tflite")} == {"int8"}


class Net(nn.Module):
    """A residual block with bounds of all kinds, depthwise, pooling, a padding, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, groups=16)
        self.point, self.hidden, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = self.point(F.relu6(self.deep(F.pad(x, (1, 1, 1, 1), mode="reflect"))))
        result: Tensor = self.head(torch.relu(self.hidden((x + F.hardtanh(y, -0.3, 0.5)).sigmoid().mean((2, 3)))))
        return result


@pytest.fixture(scope="module")
def net() -> tuple[Graph, dict[str, tuple[float, float]]]:
    torch.manual_seed(0)
    graph = capture(Net().eval(), (3, 12, 12))
    return graph, observe(graph, [torch.randn(8, 3, 12, 12)])


def kept(graph: Graph, chosen: Callable[[Node], str]) -> dict[str, Kept]:
    return {n.name: Kept(chosen(n), "choice", ASKED) for n in graph.nodes if chosen(n)}  # type: ignore[arg-type]


@pytest.mark.parametrize("format", WRITERS)
def test_each_operation_kept_in_float_is_told_with_its_reason_and_its_boundaries(
    net: tuple[Graph, dict[str, tuple[float, float]]], format: Any
) -> None:
    graph, ranges = net
    for chosen in graph.nodes:
        if chosen.op.tied:
            continue
        q = quantize(graph, ranges, {chosen.name: Kept("float", "choice", ASKED)})
        rows = checked(q, WRITERS[format](q), format)
        told = [r for r in rows if r.by == "choice"]
        assert {r.numbers for r in told} == {"float"} and all(r.why.endswith(ASKED) for r in told)
        assert any(r.node.removesuffix("/unbounded") == chosen.name and r.why == ASKED for r in told)
        boundaries = {"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear"} & {r.type for r in told}
        assert len(boundaries) == 2 if chosen.name not in ("stem", "head") else boundaries


@pytest.mark.parametrize("format", WRITERS)
def test_a_dynamic_network_is_dynamic_in_its_linear_layers_and_float_elsewhere(
    net: tuple[Graph, dict[str, tuple[float, float]]], format: Any
) -> None:
    graph, ranges = net
    q = quantize(graph, ranges, kept(graph, lambda n: "dynamic" if isinstance(n.op, Linear) else "float"))
    rows = checked(q, WRITERS[format](q), format)
    dynamic = [r for r in rows if r.numbers == "dynamic"]
    assert {r.node for r in dynamic} == {"hidden", "head"} and not [r for r in rows if r.numbers == "int8"]
    assert not [r for r in rows if r.numbers == "float" and r.node == "head"]  # all the nodes of a MatMulInteger are one operation
    assert all(r.why == ASKED for r in dynamic)


@pytest.mark.parametrize("format", WRITERS)
def test_a_network_in_float_has_nothing_on_integers(net: tuple[Graph, dict[str, tuple[float, float]]], format: Any) -> None:
    graph, ranges = net
    q = quantize(graph, ranges, kept(graph, lambda n: "float"))
    assert {(r.numbers, r.by) for r in checked(q, WRITERS[format](q), format)} == {("float", "choice")}


def recurrent(kind: type[Recurrent], form: Any, **fields: Any) -> Graph:
    """A recurrent layer over 6 steps of 5 features, its last step, and a linear layer."""
    n, k = 8, kind.gates * 8
    torch.manual_seed(0)
    op = kind(GateMatrix((torch.randn(k, 3),), torch.randn(3, 5)), GateMatrix((torch.randn(k, n),)), torch.randn(k), torch.randn(k),
              form=form, **fields)
    head = Node("head", Linear(torch.randn(4, n), torch.randn(4)), ("rnn",))
    return Graph.build("input", (6, 5), [Node("rnn", op, ("input",)), head], "head")


@pytest.mark.parametrize(("kind", "form", "numbers", "reverse", "format"),
                         list(product((Lstm, Gru), ("fused", "loop"), ("float", "dynamic"), (False, True), WRITERS)))
def test_recurrent_layers_are_accounted_for_with_their_bodies(kind: Any, form: str, numbers: Any, reverse: bool, format: Any) -> None:
    graph = recurrent(kind, form, reverse=reverse)
    reasons = {"rnn": Kept(numbers, "choice", ASKED)}
    q = quantize(graph, observe(graph, [torch.randn(4, 6, 5)]), reasons)
    rows = checked(q, WRITERS[format](q), format)
    own = [r for r in rows if r.node == "rnn"]
    assert {r.by for r in own} == {"choice"}
    assert {r.numbers for r in own} <= {"float", numbers}
    assert {r.numbers for r in rows if r.node == "head"} == {"int8"}
    assert all((ASKED in r.why) and (r.numbers == numbers or "only the weights' products" in r.why) for r in own)
    loops = [r for r in rows if r.type in ("WHILE", "Scan")]
    assert all(r.numbers == numbers for r in loops)
    if loops:
        assert len(own) > 15


def test_a_reason_of_the_operation_itself_is_told() -> None:
    graph = recurrent(Lstm, "fused")
    q = quantize(graph, observe(graph, [torch.randn(4, 6, 5)]), necessary(graph, ("tflite",)))
    rows = checked(q, tflite_bytes(q), "tflite")
    assert {(r.by, r.why.removeprefix("back from float: ")) for r in rows if r.numbers != "int8"} == {
        ("necessity", graph.node("rnn").op.float_reason("tflite"))}


def test_the_ends_of_an_onnx_say_why_they_are_there() -> None:
    rows = accounted(prepared("relu").q, onnx_of("relu"), "onnx")
    assert [(r.type, r.why) for r in rows if r.why] == [("QuantizeLinear", TAKES_FLOAT), ("DequantizeLinear", GIVES_FLOAT)]


@pytest.mark.parametrize("format", WRITERS)
def test_what_the_graph_does_not_explain_is_said(net: tuple[Graph, dict[str, tuple[float, float]]], format: Any) -> None:
    """A file of another precision than its graph: in float where that says int8, and the other way round."""
    graph, ranges = net
    mixed, plain = quantize(graph, ranges, kept(graph, lambda n: "float" if n.name == "deep" else "")), quantize(graph, ranges, {})
    strange = unexplained(accounted(replace(mixed, kept={}), WRITERS[format](mixed), format))
    assert {r.node for r in strange} >= {"deep"} and all(r.by == "necessity" and UNEXPLAINED in r.why for r in strange)
    strange = unexplained(accounted(replace(plain, kept=mixed.kept), WRITERS[format](plain), format))
    assert {r.node for r in strange} == {"deep"}


def between(kind: str, one_grid: bool, inputs: int, **attributes: Any) -> bytes:
    """QuantizeLinear, DequantizeLinear, the operator, and both again."""
    extra = {"Reshape": [1, 64], "Squeeze": [0], "Unsqueeze": [0], "ReduceMax": [2], "ReduceMean": [2], "Expand": [2, 4, 4, 4],
             "Tile": [2, 1, 1, 1], "Pad": [0, 0, 1, 1, 0, 0, 1, 1], "Gather": [0, 1]}.get(kind)
    after = 0.1 if one_grid else 0.2
    grids: dict[str, Any] = {"s": np.array(0.1, np.float32), "t": np.array(after, np.float32), "z": np.array(100, np.uint8)}
    stored = [numpy_helper.from_array(v, n) for n, v in grids.items()]
    names = [f"d{i}" for i in range(inputs)]
    if extra:
        stored.append(numpy_helper.from_array(np.array(extra, np.int64), "extra"))
        names.append("extra")
    if kind == "Slice":
        stored += [numpy_helper.from_array(np.array([v], np.int64), n) for n, v in (("from", 0), ("to", 2), ("axis", 1))]
        names += ["from", "to", "axis"]
    if kind == "Resize":
        stored.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
        names += ["", "scales"]
    nodes = [n for i in range(inputs) for n in (helper.make_node("QuantizeLinear", [f"x{i}", "s", "z"], [f"q{i}"]),
                                                helper.make_node("DequantizeLinear", [f"q{i}", "s", "z"], [f"d{i}"]))]
    nodes += [helper.make_node(kind, names, ["y"], "op", **attributes), helper.make_node("QuantizeLinear", ["y", "t", "z"], ["yq"]),
              helper.make_node("DequantizeLinear", ["yq", "t", "z"], ["out"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [1, 4, 4, 4]) for i in range(inputs)],
                              [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)], stored)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())


TWO = {"Add", "Concat", "Div", "MatMul", "Max", "Min", "Mul", "Sub", "Sum"}
GIVEN: dict[str, dict[str, Any]] = {
    "AveragePool": {"kernel_shape": [2, 2]}, "MaxPool": {"kernel_shape": [2, 2]}, "Concat": {"axis": 1}, "DepthToSpace": {"blocksize": 2},
    "SpaceToDepth": {"blocksize": 2}, "Transpose": {"perm": [0, 2, 3, 1]}, "Resize": {"mode": "nearest"}, "Gather": {"axis": 1}}
FLOAT_THERE = {"Abs", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "Max", "Min", "Neg", "Pad", "ReduceMean", "Relu", "SpaceToDepth",
               "Sqrt", "Sub", "Sum", "Tanh"}


@pytest.mark.parametrize("one_grid", [True, False])
@pytest.mark.parametrize("kind", sorted((KERNELS | MOVES | FLOAT_THERE) - {"Conv", "Gemm", "Split"}))
def test_the_table_of_integer_operators_is_onnx_runtime_s(kind: str, one_grid: bool, tmp_path: Any) -> None:
    """Conv and Gemm are in every other test here, and Split moves as Slice does."""
    data = between(kind, one_grid, 2 if kind in TWO else 1, **GIVEN.get(kind, {}))
    assert (("op", kind) in account(data, "onnx").float_ops) == bool(list(fused(data, tmp_path)))


def test_interpolation_stays_in_float(tmp_path: Any) -> None:
    data = between("Resize", True, 1, mode="linear")
    assert account(data, "onnx").float_ops == (("op", "Resize"),) and list(fused(data, tmp_path))


@pytest.mark.parametrize("format", WRITERS)
def test_dynamic_operators_of_a_layer_kept_in_float_are_not_explained(format: Any) -> None:
    graph = recurrent(Gru, "loop")
    q = quantize(graph, observe(graph, [torch.randn(4, 6, 5)]), {"rnn": Kept("dynamic", "choice", ASKED)})
    strange = unexplained(accounted(replace(q, kept={"rnn": Kept("float", "choice", ASKED)}), WRITERS[format](q), format))
    assert {(r.node, r.numbers) for r in strange} == {("rnn", "dynamic")}
