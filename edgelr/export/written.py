"""What a written file holds, in words that fit both formats."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelr.vocabulary import Grid

Format = Literal["tflite", "onnx"]


@dataclass(frozen=True)
class WrittenOperator:
    """One operator of a file. ``inputs`` leave out the constants that the file stores.

    ``name`` is the node's in an .onnx and that of the first output tensor in a .tflite. Types are numpy's names ("int8").
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class WrittenWeights:
    """``weight`` integers in torch's layout (a .tflite knows two-dimensional convolutions only), ``scale`` per output channel.

    ``bias`` and ``bias_scale`` are empty where the operator has none.
    """

    weight: NDArray[Any]
    scale: NDArray[np.float32]
    bias: NDArray[Any]
    bias_scale: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class WrittenFile:
    """``operators`` in the file's order, ``grids`` of values (s8 form), ``weights`` of weighted operators, ``outputs`` of the file."""

    operators: tuple[WrittenOperator, ...]
    grids: Mapping[str, Grid]
    weights: Mapping[str, WrittenWeights]
    outputs: tuple[str, ...]


def one_grid(scale: NDArray[Any], zero_point: NDArray[Any], kind: str) -> Grid | None:
    """The per-tensor int8 grid of a scale and a zero point of type ``kind`` (int8 or uint8); None where they are something else."""
    if scale.size != 1 or zero_point.size != 1 or kind not in ("int8", "uint8"):
        return None
    return Grid(float(scale.reshape(-1)[0]), int(zero_point.reshape(-1)[0]) - (128 if kind == "uint8" else 0))
