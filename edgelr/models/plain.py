"""Convolutions and linear layers of a user's own class, as the plain torch layers that they amount to.

EfficientNet's "same" padding, timm's Conv2dSame and their like pad and then convolve: what they do is read off the captured
program, so that they are counted, folded, factorised and written like any other layer.
"""
from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from torch import Tensor, fx, nn

from edgelr.graph.capture import export
from edgelr.models.depth import deep_enough

PLAIN = (nn.Conv1d, nn.Conv2d, nn.Linear)
CALLS = {"aten.conv1d.default": nn.Conv1d, "aten.conv2d.default": nn.Conv2d, "aten.linear.default": nn.Linear}
PADS = {"aten.pad.default", "aten.constant_pad_nd.default"}


def plain_layers(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """A deep copy in which each layer of a class derived from Conv1d, Conv2d or Linear is a plain one, where it acts as one.

    A layer whose padding differs from side to side becomes a Sequential of "pad" and "conv". One that does anything else stays as it
    is. ``shape`` is the input's, without batch. Raises UnsupportedError where the network can't be captured.
    """
    derived = {n: m for n, m in model.named_modules() if isinstance(m, PLAIN) and type(m) not in PLAIN}
    if not derived:
        return model
    with deep_enough(model):
        program = export(model, shape)
        copy = deepcopy(model)
    held = program.graph_signature.inputs_to_parameters
    inside: dict[str, list[fx.Node]] = {name: [] for name in derived}
    for node in program.graph.nodes:
        stack = [str(entry[0]) for entry in node.meta.get("nn_module_stack", {}).values()] if node.op == "call_function" else []
        for path in (p.removeprefix("L['self'].") for p in stack):
            if path in inside:
                inside[path].append(node)
    for name, module in derived.items():
        plain = _plain(name, module, inside[name], held)
        if plain is not None:
            parent, _, child = name.rpartition(".")
            setattr(copy.get_submodule(parent), child, plain.train(module.training))
    return copy


def _zeros_before(before: fx.Node, call: fx.Node) -> list[int] | None:
    """The widths of a padding with zeros that only ``call`` reads (last axis first, as torch names them); None if it is anything else."""
    if str(before.target) not in PADS or call.args[0] is not before or len(before.users) > 1:
        return None
    arguments = [*before.args[2:], *before.kwargs.values()]  # "constant" and its value, or the value alone
    return list(before.args[1]) if all(a in ("constant", 0, None) for a in arguments) else None  # type: ignore[arg-type]


def _plain(name: str, module: nn.Module, nodes: list[fx.Node], held: Mapping[str, str]) -> nn.Module | None:
    """The plain layer for a module of which the program holds ``nodes``: one call of its own weight, a zero padding before it at most."""
    call = nodes[-1] if nodes else None
    kind = CALLS.get(str(call.target)) if call is not None else None
    if call is None or kind is None or len(nodes) > 2 or list(module._parameters) not in (["weight", "bias"], ["weight"]):
        return None
    arguments: list[Any] = [*call.args, *(None,) * 7]
    if held.get(getattr(arguments[1], "name", "")) != f"{name}.weight":
        return None
    pads = [0, 0, 0, 0]
    if len(nodes) == 2:
        zeros = _zeros_before(nodes[0], call)
        if zeros is None:
            return None
        pads = [*zeros, 0, 0][:4]
    weight, bias = module._parameters["weight"], module._parameters.get("bias")
    assert isinstance(weight, Tensor)
    if kind is nn.Linear:
        layer: nn.Module = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        uneven = any(pads)
    else:
        d = weight.dim() - 2
        stride, padding, dilation = ([int(v) for v in (a if isinstance(a, list | tuple) else [a] * d)] if a is not None else [b] * d
                                     for a, b in ((arguments[3], 1), (arguments[4], 0), (arguments[5], 1)))
        after = [pads[2 * i + 1] for i in range(d)][::-1]
        pads_before = [pads[2 * i] for i in range(d)][::-1]
        uneven = after != pads_before
        own = padding if uneven else [p + q for p, q in zip(padding, pads_before, strict=True)]
        groups = arguments[6] or 1
        layer = kind(weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), tuple(stride), tuple(own), tuple(dilation),
                     groups, bias is not None)
    layer.load_state_dict({k: v for k, v in (("weight", weight), ("bias", bias)) if v is not None})
    if not uneven:
        return layer
    if kind is nn.Linear or any(p < 0 for p in pads):
        return None
    pad = nn.ConstantPad1d((pads[0], pads[1]), 0.0) if kind is nn.Conv1d else nn.ZeroPad2d((pads[0], pads[1], pads[2], pads[3]))
    result = nn.Sequential()
    result.add_module("pad", pad)
    result.add_module("conv", layer)
    return result
