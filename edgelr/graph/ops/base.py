"""What an operation is: its shape rule, its float meaning, its integer meaning, and how each file format spells it.

All in one class, so that training, simulation and both files can't drift apart. The spellers are protocols: the writers
in ``export`` implement them, so that this room needs neither format's library.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from edgelr.graph.arithmetic import WEIGHT_MAX, IntegerWeights, quantize_weights
from edgelr.vocabulary import Grid, Numbers

Shape = tuple[int, ...]
Clamp = tuple[float, float]
Array = NDArray[Any]
NO_CLAMP: Clamp = (float("-inf"), float("inf"))
RELU: Clamp = (0.0, float("inf"))
RELU6: Clamp = (0.0, 6.0)


class NodeLike(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...


class TfliteSpeller(Protocol):
    """Writes operators into a .tflite; shapes here have the batch (1) and are as written (channels last where spatial).

    ``numbers`` is how a node computes, ``floating`` whether a value has no grid. ``write`` makes the tensor of a value, of the type that
    it has; ``temporary`` one of the kind and grid of the value ``like``. ``parameters`` are the tensors of weight and bias as the node
    computes, the weight brought to the file's layout by ``arrange``, its output channels then on ``axis``. ``weights`` stores int8 values
    with one symmetric scale, or one for each row. ``subgraph`` gives the number of a new one, whose inputs and outputs ``write`` returns.
    """

    def numbers(self, node: str) -> Numbers: ...
    def floating(self, value: str) -> bool: ...

    def shape(self, value: str) -> list[int]: ...
    def torch_shape(self, value: str) -> Shape: ...
    def grid(self, value: str) -> Grid: ...
    def axis(self, value: str, axis: int) -> int: ...
    def order(self, value: str) -> list[int | None]: ...
    def unsupported(self, node: str, what: str) -> Exception: ...
    def columns(self, value: str) -> Array | None: ...
    def read(self, value: str) -> int: ...
    def write(self, value: str) -> int: ...
    def temporary(self, name: str, shape: Sequence[int], like: str) -> int: ...
    def ints(self, name: str, values: Any) -> int: ...
    def reals(self, name: str, values: Any) -> int: ...
    def constant(self, name: str, values: Any, grid: Grid | None) -> int: ...
    def parameters(self, node: NodeLike, arrange: Callable[[Array], Array], axis: int) -> list[int]: ...
    def scalar(self, name: str, value: int, grid: Grid) -> int: ...
    def move(self, node: NodeLike) -> None: ...
    def alias(self, value: str, to: str) -> None: ...
    def tensor(self, kind: str, shape: Sequence[int], variable: bool = False) -> int: ...
    def weights(self, values: Array, scale: Any) -> int: ...
    def subgraph(self, write: Callable[[], tuple[list[int], list[int]]]) -> int: ...
    def emit(self, code: str, version: int, inputs: Sequence[int], output: int | Sequence[int], options: str = "",
             **fields: Any) -> None: ...


class OnnxSpeller(Protocol):
    """Writes QDQ nodes into an .onnx; shapes here have the batch as a symbol.

    ``read`` gives a value in real numbers. ``write`` ends a node: a value with a grid is put on it and taken off again, a float one is
    bounded by its operation's clamp. ``parameters`` are weight and bias in real numbers, as the node computes. ``body`` is a graph inside
    of float inputs [batch, width].
    """

    def numbers(self, node: str) -> Numbers: ...
    def floating(self, value: str) -> bool: ...

    def torch_shape(self, value: str) -> Shape: ...
    def grid(self, value: str) -> Grid: ...
    def read(self, value: str) -> Any: ...
    def write(self, value: str, real: Any) -> None: ...
    def hand_on(self, value: str, real: Any) -> None: ...
    def joined(self, value: str) -> bool: ...
    def enclosed(self, value: str) -> bool: ...
    def pin(self, real: Any, name: str, like: str) -> Any: ...
    def constant(self, name: str, values: Any) -> Any: ...
    def reals(self, values: Any) -> Any: ...
    def parameters(self, node: NodeLike) -> list[Any]: ...
    def integer_weights(self, node: str) -> IntegerWeights: ...
    def scalar(self, name: str, value: int, grid: Grid) -> Any: ...
    def body(self, write: Callable[..., Sequence[Any]], widths: Sequence[int]) -> Any: ...
    def emit(self, op: str, inputs: Sequence[Any], name: str, *, domain: str = "", outputs: int = 1, **attributes: Any) -> Any: ...


class Op(ABC):
    """One operation with its attributes and, where it has some, its float weights. Subclasses are frozen dataclasses."""

    tied: ClassVar[bool] = False  # output and inputs share one grid: values are moved or compared, never scaled
    fixed: ClassVar[Grid | None] = None  # the grid that the runtimes fix for the output
    spatial: ClassVar[bool] = False  # TFLite wants its tensors channels last
    slow_on_integers: ClassVar[str] = ""  # what was measured, where a runtime's integer kernel is slower than its float one
    clamp: Clamp = NO_CLAMP  # bounds of the output; on the grid they are its saturation

    def float_reason(self, format: Literal["tflite", "onnx"]) -> str:
        """Why the format's runtime can't compute this on integers; "" where it can."""
        return ""

    def stored_dynamic(self) -> Op | None:
        """The float meaning with weights rounded as the dynamic form stores them; None where there is no dynamic form."""
        return None

    def range(self) -> Clamp | None:
        """Values that the output's grid must hold besides what calibration saw."""
        return None

    @abstractmethod
    def shape(self, *inputs: Shape) -> Shape:
        """Output shape from the input shapes, all without batch."""

    @abstractmethod
    def run(self, *inputs: Tensor) -> Tensor:
        """Float meaning on batched tensors; differentiable."""

    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        """Integer meaning on batched tensors of whole numbers in [-128, 127]; none where ``float_reason`` holds in both formats."""
        raise NotImplementedError(f"{type(self).__name__} has no integer form")

    @abstractmethod
    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        """Write this operation into a .tflite."""

    @abstractmethod
    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        """Write this operation into an .onnx."""


class Weighted(Op):
    """An operation with a float weight, output channels on axis 0, and a bias: what goes on the grid per output channel."""

    weight: Tensor
    bias: Tensor

    def stored_dynamic(self, weight_max: int = WEIGHT_MAX) -> Op:
        q = quantize_weights(self.weight, torch.zeros_like(self.bias), 1.0, weight_max)
        weight = q.weight.float() * q.scale.view(-1, *(1,) * (self.weight.dim() - 1))
        return replace(self, weight=weight)  # type: ignore[type-var]


def activation(clamp: Clamp) -> str:
    """TFLite's name of the fused activation; other bounds are left to the grid's saturation."""
    names: Mapping[Clamp, str] = {RELU: "RELU", RELU6: "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
    return names.get(clamp, "NONE")


def bounded(x: Tensor, clamp: Clamp) -> Tensor:
    """Clamp where there is something to clamp."""
    low, high = clamp
    if clamp == NO_CLAMP:
        return x
    if high == float("inf"):
        return x.relu() if low == 0 else x.clamp(min=low)
    return x.clamp(max=high) if low == float("-inf") else x.clamp(low, high)
