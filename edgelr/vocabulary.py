"""The words of edgelr, one meaning each, as frozen plain data. Floor 1: imports nothing of edgelr but errors."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Scheme = Literal["dense", "channel", "spatial", "linear", "recurrent", "gates"]
How = Literal["measured", "simulated", "predicted", "counted"]
BudgetKind = Literal["latency", "size", "macs", "params"]
Numbers = Literal["int8", "dynamic", "float"]
Format = Literal["tflite", "onnx"]  # .tflite runs in LiteRT, .onnx in ONNX Runtime


@dataclass(frozen=True)
class Layer:
    """One module that holds parameters, or one gate matrix of a recurrent module: what it is, what it costs, and which schemes it can take.

    A gate matrix holds all gates, one above the other; ``groups`` is their number, and its shapes are [steps, features]. Shapes leave the
    batch out. ``macs`` is for one sample; ``None`` where no closed form is known (never 0 by silence).
    ``bytes`` are those of the float32 parameters. ``reason`` says why ``schemes`` is empty; "" where it is not.
    """

    name: str
    kind: str  # "conv1d", "conv2d", "linear", "recurrent", "batchnorm", or the class name of a module we don't know
    weight_shape: tuple[int, ...]
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    params: int
    macs: int | None
    bytes: int
    bias: bool = False
    groups: int = 1
    stride: tuple[int, ...] = ()
    schemes: tuple[Scheme, ...] = ()
    reason: str = ""


@dataclass(frozen=True, order=True)
class Share:
    """A factor in common with the other layers of ``group``: the first factor ("left"), the second ("right"), or a part of both.

    Sides are the joint decomposition paper's (arXiv 2107.04386). ``left_rank`` of "both": how much of the rank has its first factor in
    common; the rest has its second.
    """

    group: str
    side: Literal["left", "right", "both"]
    left_rank: int = 0


@dataclass(frozen=True, order=True)
class Choice:
    """What one layer becomes: a scheme and its rank (``None`` for dense; per group for a grouped convolution, per gate for "gates").

    ``share`` is the factor that it has in common with other layers, of the same scheme, rank and group; ``None`` where it has none.
    """

    scheme: Scheme = "dense"
    rank: int | None = None
    share: Share | None = None

    def __post_init__(self) -> None:
        if (self.scheme == "dense") != (self.rank is None):
            raise ValueError(f"a dense choice has no rank and every other has one: {self.scheme}, {self.rank}")
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"rank must be at least 1, not {self.rank}")

    def __str__(self) -> str:
        if self.rank is None:
            return self.scheme
        return f"{self.scheme} r{self.rank}" + (f" shared {self.share.side}" if self.share else "")


DENSE = Choice()


@dataclass(frozen=True)
class Plan:
    """A choice for each layer that could be factorised. A layer not named is dense. Plain data: prints, diffs, round-trips."""

    choices: Mapping[str, Choice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", MappingProxyType(dict(self.choices)))

    def __getitem__(self, layer: str) -> Choice:
        return self.choices.get(layer, DENSE)

    def __hash__(self) -> int:
        return hash(tuple(sorted((n, c) for n, c in self.choices.items() if c != DENSE)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return all(self[n] == other[n] for n in {*self.choices, *other.choices})

    def __reduce__(self) -> tuple[type[Plan], tuple[dict[str, Choice]]]:
        return (Plan, (dict(self.choices),))

    def replace(self, layer: str, choice: Choice) -> Plan:
        """The same plan with one layer chosen anew."""
        return Plan({**self.choices, layer: choice})

    def factorised(self) -> dict[str, Choice]:
        """The layers that don't stay dense."""
        return {n: c for n, c in self.choices.items() if c != DENSE}


@dataclass(frozen=True)
class Candidate:
    """One choice for a layer with its prices (named costs, each additive over layers) and its additive error (0 for dense)."""

    choice: Choice
    costs: Mapping[str, float]
    error: float


@dataclass(frozen=True)
class Budget:
    """A limit on one cost, as the user said it: ``value`` in ``unit``, or a percentage (``relative``) of the dense network's."""

    kind: BudgetKind
    value: float  # ms, bytes, MACs, parameters; or a fraction in (0, 1] when relative
    unit: str  # "ms", "KB", "KiB", "MB", "MMAC", "Mparams" …: how to tell it
    relative: bool = False
    text: str = ""


@dataclass(frozen=True)
class Score:
    """A task metric on one split. ``value`` is a fraction in [0, 1]."""

    metric: str
    value: float
    n: int
    split: str


@dataclass(frozen=True)
class Timing:
    """A latency, in milliseconds, with its spread over ``n`` calls, and where it was measured."""

    on: str
    runtime: str
    threads: int
    median: float
    p10: float
    p90: float
    n: int
    how: How = "measured"


@dataclass(frozen=True)
class Kept:
    """An operation that doesn't compute on int8 activations, and why.

    ``numbers`` "dynamic": int8 weights, float activations that the kernel quantises as it runs. ``by`` "necessity": the runtime has no
    integer kernel for it.
    """

    numbers: Literal["dynamic", "float"]
    by: Literal["choice", "necessity"]
    why: str


@dataclass(frozen=True)
class Grid:
    """An int8 grid: real = scale * (q - zero_point), q in [-128, 127]. The u8 form of ONNX is the same grid, zero_point + 128.

    ``scale`` is an exact float32 value held as a Python float.
    """

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        return self.scale * (-128 - self.zero_point)

    @property
    def high(self) -> float:
        return self.scale * (127 - self.zero_point)
