"""From a torch network to the graph, by torch.export: one table from ATen's operations to ours."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgelr.errors import UnsupportedError
from edgelr.graph.batch import SIZE as BATCH
from edgelr.graph.behaviour import check_one_input, check_one_output, check_same, watch
from edgelr.graph.build import Builder
from edgelr.graph.ir import Graph
from edgelr.graph.lowering import Lowering, in_place, operation
from edgelr.graph.ops import Shape
from edgelr.graph.refusals import quiet_export, refusal
from edgelr.graph.run import run
from edgelr.graph.state import State

NO_GRAD = "wrap_with_set_grad_enabled"  # what torch.export makes of a region under torch.no_grad()


def export(model: nn.Module, shape: Shape) -> torch.export.ExportedProgram:
    """torch.export of an eval-mode network on float32 inputs of ``shape`` (without batch).

    Raises UnsupportedError where the network's Python can't be captured.
    """
    check_one_input(model.eval())
    example, state = torch.zeros(BATCH, *shape), State(model)
    with quiet_export() as kept, spelt_out_attention():
        try:
            program = torch.export.export(model, (example,))
            if any(str(n.target) == NO_GRAD for n in program.graph.nodes):  # without gradients all around, there is no such region
                with torch.no_grad():
                    program = torch.export.export(model, (example,))
        except Exception as error:  # torch.export raises many kinds
            state.put_back()
            raise refusal(model, _random(BATCH, shape), error, kept.text) from error
        finally:
            state.put_back()  # what forward() wrote into its attributes while it was captured are no tensors
    for node in list(program.graph.nodes):
        if operation(node.target) == "_assert_tensor_metadata.default":  # what a cast leaves behind: it computes nothing
            program.graph.erase_node(node)
    _drop_unread(program)
    return program


@contextmanager
def spelt_out_attention() -> Iterator[None]:
    """Within: torch's transformer layers run operation by operation. In eval mode they'd take one kernel for all, which tells nothing."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _drop_unread(program: torch.export.ExportedProgram) -> None:
    """Take out what no output needs: statistics that a module keeps for itself, and the updates of its buffers with them."""
    order = {node: n for n, node in enumerate(program.graph.nodes)}
    for node in reversed(list(program.graph.nodes)):
        if node.op != "call_function" or node.users:
            continue
        changed: Any = node.args[0] if in_place(node) else None
        if changed is None or (changed.op == "placeholder" and all(order[reader] <= order[node] for reader in changed.users)):
            program.graph.erase_node(node)


def capture(model: nn.Module, shape: Shape) -> Graph:
    """The network as a graph. Batch norm is folded, activations are bounds of the operation before, dropout is gone.

    ``shape`` is the input's, without batch. Raises UnsupportedError naming the module and the operation.
    """
    program = export(model, shape)
    x = _random(BATCH, shape)
    wanted = check_one_output(watch(model, x)[0])
    signature = program.graph_signature
    tensors = {**program.state_dict, **program.constants}
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    builder = Builder("input", tuple(shape))
    written = {_root(node) for node in program.graph.nodes if in_place(node)}  # the network's own tensors stay as they are
    constants = {name: tensors[key].detach().clone() if name in written else tensors[key].detach() for name, key in held.items()}
    lowering = Lowering(builder, constants, _all_names(model, signature.inputs_to_parameters))
    for node in program.graph.nodes:
        if node.op != "output":
            lowering.lower(node)
            continue
        result = next((r for r in node.args[0] if isinstance(r, fx.Node)), None)
        if result is None or not isinstance(lowering.values[result], str):
            raise UnsupportedError("the output of the network doesn't depend on its input", "there is nothing to compute on the device",
                                   "return what is computed from the input")
        graph = lowering.graph(result)
        check_same(model, partial(run, graph), x, wanted, _random(BATCH + 1, shape))
        return graph
    raise AssertionError("an exported program ends in its output")


def _all_names(model: nn.Module, parameters: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The given name of each parameter that an input stands for, then its others: a tied weight has one in each module that holds it."""
    held: dict[int, list[str]] = {}
    tensors = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in tensors.items():
        held.setdefault(id(parameter), []).append(name)
    return {i: (name, *(held.get(id(tensors[name]), ()) if name in tensors else ())) for i, name in parameters.items()}


def _root(node: fx.Node) -> str:
    """The name of the placeholder, or the operation without inputs, whose memory a chain of views and in-place operations may share."""
    while node.args and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node.name


def _random(batch: int, shape: Shape) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
