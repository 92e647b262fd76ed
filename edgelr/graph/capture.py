"""From a torch network to the graph, by torch.export: one table from ATen's operations to ours."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgelr.errors import UnsupportedError
from edgelr.graph import aten
from edgelr.graph.build import Builder
from edgelr.graph.ir import Graph
from edgelr.graph.ops import Shape

BATCH = 2  # captured with two samples, so that no shape rule can mistake the batch for an axis of length 1


def export(model: nn.Module, shape: Shape) -> torch.export.ExportedProgram:
    """torch.export of an eval-mode network on float32 inputs of ``shape`` (without batch).

    Raises UnsupportedError where the network's Python can't be captured.
    """
    example = torch.zeros(BATCH, *shape)
    try:
        program = torch.export.export(model.eval(), (example,))
    except Exception as error:  # torch.export raises many kinds; each means the same to the user
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UnsupportedError(
            "the network can't be captured as a graph", f"torch.export says: {first[:300]}",
            "make forward() free of data-dependent Python (if/for on tensor values), and check the input shape",
        ) from error
    for node in list(program.graph.nodes):
        if _name(node.target) == "_assert_tensor_metadata.default":  # what a cast leaves behind: it computes nothing
            program.graph.erase_node(node)
    return program


def capture(model: nn.Module, shape: Shape) -> Graph:
    """The network as a graph. Batch norm is folded, activations are bounds of the operation before, dropout is gone.

    ``shape`` is the input's, without batch. Raises UnsupportedError naming the module and the operation.
    """
    program = export(model, shape)
    signature = program.graph_signature
    tensors = {**program.state_dict, **program.constants}
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    builder = Builder("input", tuple(shape))
    values: dict[fx.Node, Any] = {}
    inputs = [n for n in program.graph.nodes if n.op == "placeholder" and n.name not in held]
    if len(inputs) != 1:
        raise UnsupportedError(f"the network takes {len(inputs)} inputs", "edgelr compresses networks of one tensor in, one out",
                               "wrap it in a module whose forward() takes one tensor")
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values[node] = tensors[held[node.name]].detach() if node.name in held else builder.input
        elif node.op == "call_function":
            values[node] = _lower(builder, node, values)
            if _name(node.target).split(".")[0].endswith("_"):  # in place: later readers of the input see the result
                values[node.args[0]] = values[node]
        elif node.op == "output":
            results = node.args[0]
            if len(results) != 1 or not isinstance(values.get(results[0]), str):
                raise UnsupportedError(f"the network returns {len(results)} tensors", "one tensor out is supported",
                                       "wrap it in a module that returns the one you deploy")
            return builder.graph(values[results[0]])
    raise AssertionError("an exported program ends in its output")


def _lower(builder: Builder, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    rule: Callable[..., Any] | None = aten.RULES.get(_name(node.target))
    args = [_resolve(a, values) for a in node.args]
    kwargs = {k: _resolve(v, values) for k, v in node.kwargs.items()}
    where = _path(node)
    if not _varies(node, values):
        compute: Any = node.target
        return compute(*args, **kwargs)  # of constants alone: computed here, once
    if rule is None:
        raise UnsupportedError(f"{where or 'the network'}: operation {_name(node.target)} is not supported",
                               "it has no integer form here yet", "replace it in the model, or leave that part out of the network")
    result = node.meta.get("val")
    if isinstance(result, Tensor) and (result.dim() == 0 or result.shape[0] != BATCH):
        raise UnsupportedError(f"{where or 'the network'}: operation {_name(node.target)} mixes samples of a batch",
                               f"its result has shape {tuple(result.shape)} for a batch of {BATCH}", "keep the first axis the batch")
    single = all(_alone(a, values) for a in node.all_input_nodes)
    shape = tuple(result.shape[1:]) if isinstance(result, Tensor) else ()
    site = aten.Site(builder, where, _name(node.target).split(".")[0].rstrip("_"), shape, single)
    try:
        return rule(site, *args, **kwargs)
    except aten.NotSupportedError as error:
        raise UnsupportedError(f"{where or 'the network'}: {error}", f"operation {_name(node.target)}",
                               "replace it in the model by a supported form") from error


def _varies(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    """Whether an operation depends on the input, and not on constants alone."""
    return any(isinstance(values.get(a), str | list) for a in node.all_input_nodes)


def _alone(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    """Whether a value has one reader, also under its other names (dropout and fused activations rename, not copy)."""
    aliases = [a for a in node.all_input_nodes if isinstance(values.get(a), str) and values[a] == values[node]]
    return len(node.users) == 1 and all(_alone(a, values) for a in aliases)


def _resolve(arg: Any, values: dict[fx.Node, Any]) -> Any:
    if isinstance(arg, fx.Node):
        return values[arg]
    return [_resolve(a, values) for a in arg] if isinstance(arg, list | tuple) else arg


def _name(target: Any) -> str:
    """The operation without its namespace: conv2d.default."""
    return str(target).removeprefix("aten.")


def _path(node: fx.Node) -> str:
    """The innermost module's qualified name; "" for the network itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    return str(path).removeprefix("L['self'].").removeprefix("L['self']")
