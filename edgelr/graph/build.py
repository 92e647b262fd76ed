"""Builds a graph node by node, joining what runs as one: scales into weights, bounds into the operation before, pads into windows."""
from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from edgelr.graph.bounds import bounded_by, settled
from edgelr.graph.factors import absorbed
from edgelr.graph.ir import Graph, Node
from edgelr.graph.ops import (
    NO_CLAMP,
    AddConstant,
    Conv,
    GlobalMean,
    Linear,
    MaxPool,
    MulConstant,
    Op,
    Pad,
    Permute,
    Requantize,
    Reshape,
    Shape,
    Slice,
)
from edgelr.graph.ops.base import Clamp


def _fits(constant: Tensor, shape: Shape) -> bool:
    """Whether a constant leaves a shape as it is."""
    return constant.numel() == 1 or all(n in (1, own) for n, own in zip(constant.shape, shape, strict=True))


class Builder:
    """The graph so far. ``single`` answers whether a value is read once only, so that its maker may be changed."""

    def __init__(self, name: str, shape: Shape) -> None:
        self.input = name
        self.nodes: dict[str, Node] = {}
        self.shapes: dict[str, Shape] = {name: shape}

    def add(self, name: str, op: Op, *inputs: str) -> str:
        unique, n = name, 1
        while unique in self.shapes:
            unique, n = f"{name}#{n}", n + 1
        self.nodes[unique] = Node(unique, op, inputs)
        self.shapes[unique] = op.shape(*(self.shapes[i] for i in inputs))
        return unique

    def swap(self, value: str, op: Op, *inputs: str) -> str:
        """Change the operation that made ``value``."""
        node = self.nodes[value]
        self.nodes[value] = Node(value, op, inputs or node.inputs)
        self.shapes[value] = op.shape(*(self.shapes[i] for i in self.nodes[value].inputs))
        return value

    def maker(self, value: str) -> Op | None:
        return self.nodes[value].op if value in self.nodes else None

    def graph(self, output: str) -> Graph:
        return absorbed(settled(Graph.build(self.input, self.shapes[self.input], list(self.nodes.values()), output)))

    def clamp(self, name: str, value: str, clamp: Clamp, single: bool) -> str:
        """Bound a value: in the operation that makes it where only this reads it, else as an operation of its own."""
        op = self.maker(value)
        joined = bounded_by(op, clamp) if single and op is not None else None
        return self.add(name, Requantize(clamp), value) if joined is None else self.swap(value, joined)

    def reshape(self, name: str, value: str, shape: Shape) -> str:
        """Add a reshape if need be. One behind another takes its place; one of axes of length 1 goes before a permutation."""
        op = self.maker(value)
        if isinstance(op, Permute) and [n for n in shape if n > 1] == [n for n in self.shapes[value] if n > 1] != []:
            source = self.nodes[value].inputs[0]
            full = [a for a, n in enumerate(self.shapes[source]) if n > 1]
            plain = self.reshape(f"{name}/plain", source, tuple(self.shapes[source][a] for a in full))
            value = self.permute(name, plain, tuple(full.index(a) for a in op.axes if a in full))
            op = self.maker(value)
        source = self.nodes[value].inputs[0] if isinstance(op, Reshape) else value
        if self.shapes[source] == shape:
            return source
        return value if self.shapes[value] == shape else self.add(name, Reshape(shape), source)

    def permute(self, name: str, value: str, axes: tuple[int, ...]) -> str:
        """Add a permutation where it changes anything; one behind another takes its place."""
        op, source = self.maker(value), value
        if isinstance(op, Permute):
            source, axes = self.nodes[value].inputs[0], tuple(op.axes[a] for a in axes)
        return source if axes == tuple(range(len(axes))) else self.add(name, Permute(axes), source)

    def part(self, name: str, value: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Add a slice, unless it takes the whole. It goes before a permutation, which may then join the next."""
        if (start, step) == (0, 1) and stop == self.shapes[value][axis]:
            return value
        op = self.maker(value)
        if not isinstance(op, Permute):
            return self.add(name, Slice(axis, start, stop, step), value)
        return self.permute(f"{name}/order", self.add(name, Slice(op.axes[axis], start, stop, step), self.nodes[value].inputs[0]), op.axes)

    def scaled(self, name: str, value: str, by: Tensor, single: bool) -> str:
        """value * by, constants in the value's axes or one number."""
        shape = self.shapes[value]
        if bool((by == 1).all()) and _fits(by, shape):
            return value
        axis = self._varies_along(value, by, single)
        if axis is not None:
            return self.affine(name, value, by.reshape(-1), torch.tensor(0.0), single, axis)
        return self.add(name, MulConstant(by if by.numel() > 1 else by.reshape((1,) * len(shape))), value)

    def shifted(self, name: str, value: str, by: Tensor, single: bool) -> str:
        """value + by, constants in the value's axes or one number. Two sums in a row become one."""
        shape = self.shapes[value]
        op = self.maker(value)
        if single and isinstance(op, AddConstant) and op.clamp == NO_CLAMP:
            return self.swap(value, AddConstant(op.value + by))
        axis = self._varies_along(value, by, single)
        if axis is not None:
            return self.affine(name, value, torch.tensor(1.0), by.reshape(-1), single, axis)
        return self.add(name, AddConstant(by if by.numel() > 1 else by.reshape((1,) * len(shape))), value)

    def _varies_along(self, value: str, constant: Tensor, single: bool) -> int | None:
        """The axis along which a constant becomes a layer's weights, or a depthwise convolution's; None where it is better left alone."""
        shape, op = self.shapes[value], self.maker(value)
        varying = [a for a, n in enumerate(constant.shape) if n > 1]
        if not _fits(constant, shape) or len(varying) > 1:
            return None
        last = len(shape) - 1
        if single and isinstance(op, Conv | Linear) and op.clamp == NO_CLAMP:
            own = 0 if isinstance(op, Conv) else last
            if varying in ([], [own]):
                return own
        return 0 if varying == [0] and len(shape) == 3 else None

    def affine(self, name: str, value: str, scale: Tensor, shift: Tensor, single: bool, axis: int = 0) -> str:
        """value * scale + shift along ``axis`` (scale and shift: one number each, or one for each index of that axis).

        Goes into the weights of the convolution or linear layer before, if only this reads it; else a 1x1 depthwise
        convolution: the one integer form of it that both runtimes run fast and alike.
        """
        shape = self.shapes[value]
        scale, shift = (v.detach().float().reshape(-1).expand(shape[axis]).contiguous() for v in (scale, shift))
        op = self.maker(value)
        if single and isinstance(op, Conv) and op.clamp == NO_CLAMP and axis == 0:
            weight = op.weight * scale.view(-1, *(1,) * (op.weight.dim() - 1))
            return self.swap(value, replace(op, weight=weight, bias=op.bias * scale + shift))
        if single and isinstance(op, Linear) and op.clamp == NO_CLAMP and axis == len(shape) - 1:
            return self.swap(value, replace(op, weight=op.weight * scale[:, None], bias=op.bias * scale + shift))
        if len(shape) == 1:
            lifted = self.add(f"{name}/lift", Reshape((*shape, 1, 1)), value)
            return self.add(f"{name}/flat", Reshape(shape), self._depthwise(name, lifted, scale, shift))
        if axis:
            there = (axis, *(a for a in range(len(shape)) if a != axis))
            back = tuple(there.index(a) for a in range(len(shape)))
            moved = self.add(f"{name}/there", Permute(there), value)
            return self.add(f"{name}/back", Permute(back), self._depthwise(name, moved, scale, shift))
        return self._depthwise(name, value, scale, shift)

    def _depthwise(self, name: str, value: str, scale: Tensor, shift: Tensor) -> str:
        channels, *places = self.shapes[value]
        if len(places) > 2:
            flat = self.add(f"{name}/fold", Reshape((channels, 1, prod(places))), value)
            return self.add(f"{name}/unfold", Reshape((channels, *places)), self._depthwise(name, flat, scale, shift))
        d = len(places)
        return self.add(name, Conv(scale.view(-1, *(1,) * (d + 1)), shift, (1,) * d, (0,) * 2 * d, (1,) * d, channels), value)

    def window_mean(self, name: str, value: str, kernel: tuple[int, ...], stride: tuple[int, ...], pads: tuple[int, ...]) -> str:
        """Average pooling (pads counted) as a depthwise convolution: its integer weights are exact, its sums int32."""
        channels = self.shapes[value][0]
        weight = torch.full((channels, 1, *kernel), 1 / prod(kernel))
        return self.add(name, Conv(weight, torch.zeros(channels), stride, pads, (1,) * len(kernel), channels), value)

    def mean(self, name: str, value: str, axes: tuple[int, ...], keep: bool) -> str:
        """Mean over any axes (without batch), as the global mean of the kept axes' values."""
        shape = self.shapes[value]
        kept = tuple(a for a in range(len(shape)) if a not in axes)
        final = tuple(1 if a in axes else s for a, s in enumerate(shape)) if keep else tuple(shape[a] for a in kept)
        if kept != (0,) or len(shape) not in (2, 3):
            order = (*kept, *axes)
            if order != tuple(range(len(shape))):
                value = self.add(f"{name}/order", Permute(order), value)
            rows, places = prod(shape[a] for a in kept), prod(shape[a] for a in axes)
            value = self.add(f"{name}/rows", Reshape((rows, places, 1)), value)
        result = self.add(name, GlobalMean(), value)
        return result if self.shapes[result] == final else self.add(f"{name}/flat", Reshape(final), result)

    def windowed(self, name: str, op: Conv | MaxPool, value: str, single: bool) -> str:
        """Add a convolution or max pooling; a padding with zeros before it becomes its own pads where that is the same."""
        pad = self.maker(value)
        if single and isinstance(pad, Pad) and pad.mode == "constant" and pad.both[0] == (0, 0):
            source = self.nodes[value].inputs[0]
            below = getattr(self.maker(source), "clamp", NO_CLAMP)[0] >= 0  # no value is under the zeros
            d = len(op.stride)
            outer = (*pad.pads[1 : d + 1], *pad.pads[d + 2 :])
            if isinstance(op, Conv):
                same = pad.value == 0
            else:
                reached = all(p < k for p, k in zip(outer, op.kernel * 2, strict=True))  # every window has a value of its own
                same = reached and (pad.value == float("-inf") or (pad.value == 0 and below and not any(op.pads)))
            if same:
                return self.add(name, replace(op, pads=tuple(a + b for a, b in zip(op.pads, outer, strict=True))), source)
        return self.add(name, op, value)
