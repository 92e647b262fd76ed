"""From an exported program's nodes to the graph's: what depends on the input goes through the table of rules, constants are computed."""
from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, fx

from edgelr.errors import UnsupportedError
from edgelr.graph import aten, aten_activations, aten_arithmetic, aten_attention, aten_layers, aten_moving, aten_pooling, aten_recurrent
from edgelr.graph.aten import At, NotSupportedError, Site
from edgelr.graph.aten_recurrent import Refused
from edgelr.graph.batch import FIRST, SIZE, Batch
from edgelr.graph.build import Builder
from edgelr.graph.ir import Graph
from edgelr.graph.ops import Shape
from edgelr.graph.refusals import line_of

# Importing the families fills the table of rules.
FAMILIES = (aten_activations, aten_arithmetic, aten_attention, aten_layers, aten_moving, aten_pooling, aten_recurrent)


class Lowering:
    """Values of an exported program so far: a name in the graph, a list of names, or a constant. ``batches``: where samples are."""

    def __init__(self, builder: Builder, constants: Mapping[str, Any], parameters: Mapping[str, tuple[str, ...]]) -> None:
        self.builder = builder
        self.constants = constants  # of the placeholders that are not the network's input
        self.parameters = parameters  # all qualified names of each of those that are weights: a tied one has several
        self.values: dict[fx.Node, Any] = {}
        self.batches: dict[fx.Node, Batch] = {}

    def graph(self, result: fx.Node) -> Graph:
        """The finished graph. Raises UnsupportedError where the result doesn't have its samples first."""
        if self.batches[result] != FIRST:
            raise UnsupportedError("the network's output mixes samples of a batch, or doesn't have them alone on its first axis",
                                   f"its shape is {_shape(result)} for a batch of {SIZE}", "end forward() with a tensor of [batch, ...]")
        return self.builder.graph(self.values[result])

    def lower(self, node: fx.Node) -> None:
        """One node. Raises UnsupportedError naming the module and the operation."""
        if node.op == "placeholder":
            held = node.name in self.constants
            self.values[node] = self.constants[node.name] if held else self.builder.input
            self.batches |= {} if held else {node: FIRST}
        elif node.op == "get_attr":
            self.values[node] = None  # the body of a region, whose operation is refused by name
        elif not any(a in self.batches for a in node.all_input_nodes):  # of constants alone: computed here, once
            compute: Any = node.target
            args = [self._resolve(a) for a in node.args]
            self.values[node] = compute(*args, **{k: self._resolve(v) for k, v in node.kwargs.items()})
        elif node.target is operator.getitem:
            source, index = node.args
            assert isinstance(source, fx.Node) and isinstance(index, int)
            part = self.values[source][index]
            self.values[node], self.batches[node] = (part.name, part.batch) if isinstance(part, At) else (part, self.batches[source])
        else:
            self.values[node], self.batches[node] = self._applied(node)
        if in_place(node) and node in self.batches:  # later readers of the input see the result
            assert isinstance(node.args[0], fx.Node)
            self.values[node.args[0]] = self.values[node]

    def _applied(self, node: fx.Node) -> tuple[Any, Batch]:
        name, where = operation(node.target), path_of(node) or "the network"
        rule = aten.RULES.get(name)
        if rule is None:
            raise UnsupportedError(f"{where}: operation {name} is not supported",
                                   f"edgelr has no form of it, in float or in int8{_at(node)}",
                                   "replace it in the model by operations that are supported, or leave that part out of the network and "
                                   "compute it before or behind the file (--keep-float doesn't help: it keeps what is supported)")
        try:
            batch, first = self._samples(node)
            site = Site(self.builder, path_of(node), self._owner(node), name.split(".")[0].rstrip("_"), _shape(first), _shape(node), batch,
                        all(self._alone(a) for a in node.all_input_nodes))
            result = rule(site, *(self._resolve(a) for a in node.args), **{k: self._resolve(v) for k, v in node.kwargs.items()})
            if isinstance(result, At):
                batch = result.batch
                result = result.name
            if isinstance(result, str) and batch.without(_shape(node)) != self.builder.shapes[result]:
                raise NotSupportedError(f"it mixes samples of a batch: shape {_shape(node)} for {self.builder.shapes[result]} a sample")
        except NotSupportedError as error:
            raise UnsupportedError(f"{where}: {error}", f"operation {name}{_at(node)}",
                                   "replace it in the model by a supported form") from error
        return result, batch

    def _owner(self, node: fx.Node) -> str:
        """The name of the module, or the part of it, whose weight an operation works with; the innermost module's where there is none."""
        path = path_of(node)
        known = (self.parameters.get(a.name, ()) for a in node.all_input_nodes)
        names = (next((n for n in each if n.startswith(f"{path}.")), each[0]) for each in known if each)
        return next((n[: -len("_weight")] for n in names if n.endswith((".weight", "_weight"))), path)

    def _samples(self, node: fx.Node) -> tuple[Batch, fx.Node]:
        """Where the inputs have their samples, counted in the first one's axes, and the first one. All must have them at one place."""
        inputs = [a for a in _arguments(node) if a in self.batches]
        if operation(node.target).split(".")[0].endswith("_as"):  # the second gives its shape only
            inputs = inputs[:1]
        widest = max(inputs, key=lambda a: len(_shape(a)))
        batch, rank = self.batches[widest], len(_shape(widest))
        for other in inputs:
            own = self.batches[other]
            if (own.axis - len(_shape(other)), own.before, own.merged) != (batch.axis - rank, batch.before, batch.merged):
                raise NotSupportedError("its inputs have their samples on different axes")
        return batch, widest

    def _alone(self, node: fx.Node) -> bool:
        """Whether a value has one reader, also under its other names (dropout and fused activations rename, not copy)."""
        value = self.values[node]
        aliases = [a for a in node.all_input_nodes if isinstance(value, str) and self.values[a] == value] if node in self.batches else []
        return len(node.users) == 1 and all(self._alone(a) for a in aliases)

    def _resolve(self, arg: Any) -> Any:
        if isinstance(arg, fx.Node):
            value = self.values[arg]
            if isinstance(value, Refused):
                raise NotSupportedError(value.why)
            return value
        return [self._resolve(a) for a in arg] if isinstance(arg, list | tuple) else arg


def _arguments(node: fx.Node) -> Iterator[fx.Node]:
    """The nodes that a node reads, in the order of its arguments."""
    found: list[fx.Node] = []

    def note(argument: fx.Node) -> fx.Node:
        found.append(argument)
        return argument

    fx.map_arg((node.args, node.kwargs), note)
    return iter(found)


def _shape(node: fx.Node) -> Shape:
    """Torch's shape of a node's result; () where it gives several."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def in_place(node: fx.Node) -> bool:
    """Whether an operation writes its result into its first argument."""
    schema = getattr(node.target, "_schema", None)
    alias = schema.arguments[0].alias_info if schema is not None and schema.arguments else None
    return alias is not None and bool(alias.is_write)


def _at(node: fx.Node) -> str:
    """Where the user's code calls for an operation."""
    line = line_of(node.meta.get("stack_trace"))
    return f", at {line}" if line else ""


def operation(target: Any) -> str:
    """The operation without its namespace: conv2d.default."""
    return str(target).removeprefix("aten.")


def path_of(node: fx.Node) -> str:
    """The innermost module's qualified name; "" for the network itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    return str(path).removeprefix("L['self'].").removeprefix("L['self']")
