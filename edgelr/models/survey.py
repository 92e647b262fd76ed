"""Every module that holds parameters, once, in the order in which the network runs them; recurrent ones matrix by matrix."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

from edgelr.factorize import gate_matrices, schemes_of
from edgelr.models.calls import Call, record_calls
from edgelr.models.depth import deep_enough
from edgelr.models.macs import kind_of, macs_of
from edgelr.vocabulary import Layer, Scheme


@dataclass(frozen=True)
class _Holder:
    """A module with the parameters that are its own (those of its parametrizations are)."""

    name: str
    module: nn.Module
    parameters: tuple[tuple[str, nn.Parameter], ...]
    parametrised: bool


def survey(model: nn.Module, example: Tensor) -> tuple[Layer, ...]:
    """Each module that holds parameters, in execution order; those that are never called come last.

    A plain nn.LSTM or nn.GRU is told matrix by matrix, under the names of its parameters (lstm.weight_ih_l0), each with its own bias.
    ``example`` is a float32 input, batch first: it is run once. Each parameter is counted at the first layer that holds it, so the
    sum of ``params`` is that of the network. MACs are those of one sample, over all calls (``edgelr.models.macs`` tells what counts),
    0 for a layer that is never used, and None for one without a closed form. ``reason`` says why a layer can't be factorised: its shape
    or kind (``factorize.schemes_of``), shared weight, called several times, parametrised, never used, held directly by a module with
    others inside.

    Raises BadInputError where the network doesn't take the example.
    """
    with deep_enough(model):
        holders = _holders(model)
        calls, read = record_calls(model, example, [h.module for h in holders])
        order = {key: at for at, key in enumerate(calls)}
        holders.sort(key=lambda h: order.get(id(h.module), len(order)))
        owners: dict[int, list[str]] = {}
        for holder in holders:
            for _, parameter in holder.parameters:
                owners.setdefault(id(parameter), []).append(holder.name)
        layers: list[Layer] = []
        for holder in holders:
            seen = calls.get(id(holder.module), [])
            if gate_matrices(holder.module):
                layers += _recurrent_layers(holder, seen, read, owners, example.shape[0])
            else:
                layers.append(_layer(holder, seen, read, owners, example.shape[0]))
        return tuple(layers)


def _holders(model: nn.Module) -> list[_Holder]:
    found: list[_Holder] = []
    inside: set[int] = set()
    for name, module in model.named_modules():
        if id(module) in inside:
            continue
        own = list(module.named_parameters(recurse=False))
        rules = module._modules.get("parametrizations")
        if rules is not None:
            inside.update(map(id, rules.modules()))
            own += [(f"parametrizations.{n}", p) for n, p in rules.named_parameters()]
        hooked = any(type(hook).__name__ in ("WeightNorm", "SpectralNorm") for hook in module._forward_pre_hooks.values())
        if own:
            found.append(_Holder(name, module, tuple(own), rules is not None or hooked))
    return found


def _layer(holder: _Holder, calls: list[Call], read: set[int], owners: dict[int, list[str]], batch: int) -> Layer:
    module = holder.module
    counted = [p for _, p in holder.parameters if owners[id(p)][0] == holder.name]
    weight = getattr(module, "weight", None)
    shape = tuple(weight.shape) if isinstance(weight, Tensor) else tuple(holder.parameters[0][1].shape)
    elsewhere = not calls and any(id(p) in read for _, p in holder.parameters)
    schemes, reason = _schemes(holder, module, calls, elsewhere, owners)
    first = calls[0] if calls else Call((), ())
    macs = [None] if elsewhere else [macs_of(module, c.in_shape, c.out_shape, batch) for c in calls]
    stride, groups = getattr(module, "stride", ()), getattr(module, "groups", 1)
    return Layer(
        name=holder.name, kind=kind_of(module), weight_shape=shape, in_shape=first.in_shape[1:], out_shape=first.out_shape[1:],
        params=sum(p.numel() for p in counted), macs=None if None in macs else sum(m for m in macs if m is not None),
        bytes=sum(p.numel() * p.element_size() for p in counted), bias=isinstance(getattr(module, "bias", None), Tensor),
        groups=groups if isinstance(groups, int) else 1,
        stride=tuple(stride) if isinstance(stride, tuple) else (), schemes=schemes, reason=reason,
    )


def _recurrent_layers(holder: _Holder, calls: list[Call], read: set[int], owners: dict[int, list[str]], batch: int) -> Iterator[Layer]:
    """The matrices of an nn.LSTM or nn.GRU. Each works once a step: gate matrices [gates * hidden, inputs], and an LSTM's projections."""
    own, gates = dict(holder.parameters), gate_matrices(holder.module)
    elsewhere = not calls and any(id(p) in read for p in own.values())
    rows = [prod(c.in_shape[:-1]) // batch for c in calls]
    for name, weight in own.items():
        if name.startswith("bias"):
            continue
        bias = own.get(name.replace("weight", "bias", 1)) if name in gates else None
        counted = [p for p in (weight, bias) if p is not None and owners[id(p)][0] == holder.name]
        if name in gates:
            schemes, reason = _schemes(holder, gates[name], calls, elsewhere, owners)
        else:
            schemes, reason = (), "a projection is itself the low-rank factor of a recurrent matrix"
        yield Layer(
            name=f"{holder.name}.{name}" if holder.name else name, kind="recurrent", weight_shape=tuple(weight.shape),
            in_shape=(rows[0], weight.shape[1]) if rows else (), out_shape=(rows[0], weight.shape[0]) if rows else (),
            params=sum(p.numel() for p in counted), macs=None if elsewhere else sum(rows) * weight.numel(),
            bytes=sum(p.numel() * p.element_size() for p in counted), bias=bias is not None,
            groups=gates[name].gates if name in gates else 1, schemes=schemes, reason=reason,
        )


def _schemes(
    holder: _Holder, layer: nn.Module, calls: list[Call], elsewhere: bool, owners: dict[int, list[str]]
) -> tuple[tuple[Scheme, ...], str]:
    others = [n for _, p in holder.parameters for n in owners[id(p)] if n != holder.name]
    if others:
        return (), f"shares its weight with {others[0] or 'the network itself'}"
    if not calls:
        return (), "its weights are read by another module, without calling it" if elsewhere else "never used in a forward pass"
    if holder.parametrised:
        return (), "its weight is computed by a parametrization (weight norm or the like): remove that first"
    if next(holder.module.children(), None) is not None:
        return (), f"parameters held directly by {type(holder.module).__name__}, which has modules inside"
    schemes, reason = schemes_of(layer)
    if schemes and len(calls) > 1:
        return (), f"called {len(calls)} times in a forward pass"
    return schemes, reason
