"""Every module that holds parameters, once, in the order in which the network runs them."""
from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

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
        return tuple(_layer(h, calls.get(id(h.module), []), read, owners, example.shape[0]) for h in holders)


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
    schemes, reason = _schemes(holder, calls, elsewhere, owners)
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


def _schemes(holder: _Holder, calls: list[Call], elsewhere: bool, owners: dict[int, list[str]]) -> tuple[tuple[Scheme, ...], str]:
    from edgelr.factorize import schemes_of

    others = [n for _, p in holder.parameters for n in owners[id(p)] if n != holder.name]
    if others:
        return (), f"shares its weight with {others[0] or 'the network itself'}"
    if not calls:
        return (), "its weights are read by another module, without calling it" if elsewhere else "never used in a forward pass"
    if holder.parametrised:
        return (), "its weight is computed by a parametrization (weight norm or the like): remove that first"
    if next(holder.module.children(), None) is not None:
        return (), f"parameters held directly by {type(holder.module).__name__}, which has modules inside"
    schemes, reason = schemes_of(holder.module)
    if schemes and len(calls) > 1:
        return (), f"called {len(calls)} times in a forward pass"
    return schemes, reason
