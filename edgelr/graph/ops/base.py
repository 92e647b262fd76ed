"""What an operation is: its shape rule, its float meaning, its integer meaning, and how each file format spells it.

All in one class, so that training, simulation and both files can't drift apart. The spellers are protocols: the writers
in ``export`` implement them, so that this room needs neither format's library.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor

from edgelr.graph.arithmetic import IntegerWeights
from edgelr.vocabulary import Grid

Shape = tuple[int, ...]
Clamp = tuple[float, float]
NO_CLAMP: Clamp = (float("-inf"), float("inf"))
RELU: Clamp = (0.0, float("inf"))
RELU6: Clamp = (0.0, 6.0)


class NodeLike(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...


class TfliteSpeller(Protocol):
    """Writes operators into a .tflite; shapes here have the batch (1) and are as written (channels last where spatial)."""

    def shape(self, value: str) -> list[int]: ...
    def torch_shape(self, value: str) -> Shape: ...
    def grid(self, value: str) -> Grid: ...
    def axis(self, value: str, axis: int) -> int: ...
    def order(self, value: str) -> list[int | None]: ...
    def unsupported(self, node: str, what: str) -> Exception: ...
    def weights(self, node: str) -> IntegerWeights: ...
    def columns(self, value: str) -> np.ndarray[Any, Any] | None: ...
    def read(self, value: str) -> int: ...
    def write(self, value: str) -> int: ...
    def temporary(self, name: str, shape: Sequence[int], grid: Grid) -> int: ...
    def ints(self, name: str, values: Any) -> int: ...
    def scalar(self, name: str, value: int, grid: Grid) -> int: ...
    def reshaping(self, value: str, to: str) -> tuple[int, int, list[int]]: ...
    def reordered(self, value: str, written: int) -> None: ...
    def weight(self, name: str, values: Any, scale: Any, axis: int) -> int: ...
    def bias(self, name: str, values: Any, scale: Any) -> int: ...
    def alias(self, value: str, to: str) -> None: ...
    def emit(self, code: str, version: int, inputs: Sequence[int], output: int, options: str = "", **fields: Any) -> None: ...


class OnnxSpeller(Protocol):
    """Writes QDQ nodes into an .onnx; shapes here have the batch as a symbol."""

    def torch_shape(self, value: str) -> Shape: ...
    def grid(self, value: str) -> Grid: ...
    def weights(self, node: str) -> IntegerWeights: ...
    def read(self, value: str) -> Any: ...
    def write(self, value: str, real: Any) -> None: ...
    def hand_on(self, value: str, real: Any) -> None: ...
    def joined(self, value: str) -> bool: ...
    def pin(self, real: Any, name: str, grid: Grid) -> Any: ...
    def constant(self, name: str, values: Any) -> Any: ...
    def weight(self, name: str, values: Any, scale: Any) -> Any: ...
    def bias(self, name: str, values: Any, scale: Any) -> Any: ...
    def scalar(self, name: str, value: int, grid: Grid) -> Any: ...
    def emit(self, op: str, inputs: Sequence[Any], name: str, **attributes: Any) -> Any: ...


class Op(ABC):
    """One operation with its attributes and, where it has some, its float weights. Subclasses are frozen dataclasses."""

    tied: ClassVar[bool] = False  # output and inputs share one grid: values are moved or compared, never scaled
    fixed: ClassVar[Grid | None] = None  # the grid that the runtimes fix for the output
    spatial: ClassVar[bool] = False  # TFLite wants its tensors channels last
    clamp: Clamp = NO_CLAMP  # bounds of the output; on the grid they are its saturation

    @property
    def weighted(self) -> bool:
        """Whether the operation has weights to be put on the integer grid."""
        return False

    def range(self) -> Clamp | None:
        """Values that the output's grid must hold besides what calibration saw."""
        return None

    @abstractmethod
    def shape(self, *inputs: Shape) -> Shape:
        """Output shape from the input shapes, all without batch."""

    @abstractmethod
    def run(self, *inputs: Tensor) -> Tensor:
        """Float meaning on batched tensors; differentiable."""

    @abstractmethod
    def integer(self, inputs: Sequence[Tensor], grids: Sequence[Grid], out: Grid, weights: IntegerWeights | None) -> Tensor:
        """Integer meaning on batched tensors of whole numbers in [-128, 127]."""

    @abstractmethod
    def tflite(self, w: TfliteSpeller, node: NodeLike) -> None:
        """Write this operation into a .tflite."""

    @abstractmethod
    def onnx(self, w: OnnxSpeller, node: NodeLike) -> None:
        """Write this operation into an .onnx."""


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
