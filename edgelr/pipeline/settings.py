"""What a run is asked to do: every setting with its default, and its record in run.toml."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from edgelr.errors import UsageError
from edgelr.quantization import Method as CalibrationMethod
from edgelr.vocabulary import Budget, Format, Scheme

SearchMethod = Literal["beam", "additive", "learning-compression", "energy", "uniform", "dense"]
METHODS: tuple[SearchMethod, ...] = ("beam", "additive", "learning-compression", "energy", "uniform", "dense")
SCHEMES: tuple[Scheme, ...] = ("channel", "spatial", "linear", "recurrent", "gates")
FORMATS: tuple[Format, ...] = ("tflite", "onnx")


@dataclass(frozen=True)
class Settings:
    """One run. ``model`` and ``data`` are how the user named them; ``metric`` "" means accuracy where there are labels, else agreement.

    ``numbers`` is the number format: int8 whole, mixed (what is slow on integers in float), dynamic (int8 weights, float activations),
    or float; auto measures. ``keep_float`` are patterns of module names; ``max_drop`` is in points; ``epochs`` 0 means as many as suit.
    ``streaming`` also writes a recurrent network as one step, its states in and out.
    ``strict`` ends the run where a measurement can't be trusted; ``table`` is a latency table to use instead of the target's own.
    ``calibration_samples`` and ``score_samples`` are upper bounds. ``via`` "stock" writes the files by the stock converters.
    """

    model: str = ""
    data: str = ""
    target: str = "host"
    budgets: tuple[Budget, ...] = ()
    out: str = ""
    weights: str = ""
    recipe: str = ""
    input_shape: tuple[int, ...] = ()
    method: SearchMethod = "beam"
    schemes: tuple[Scheme, ...] = SCHEMES
    formats: tuple[Format, ...] = FORMATS
    metric: str = ""
    calibration: CalibrationMethod = "minmax"
    calibration_samples: int = 512
    score_samples: int = 1000
    numbers: Literal["auto", "int8", "mixed", "dynamic", "float"] = "auto"
    keep_float: tuple[str, ...] = ()
    max_drop: float | None = None
    qat: bool = False
    streaming: bool = False
    epochs: int = 0
    via: Literal["direct", "stock"] = "direct"
    seed: int = 0
    strict: bool = False
    table: str = ""
    allow_slower: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("method", (self.method,), METHODS),
            ("scheme", self.schemes, SCHEMES),
            ("format", self.formats, FORMATS),
            ("calibration", (self.calibration,), ("minmax", "percentile", "mse")),
            ("via", (self.via,), ("direct", "stock")),
            ("number format", (self.numbers,), ("auto", "int8", "mixed", "dynamic", "float")),
        ):
            for word in value:
                if word not in known:
                    raise UsageError(f"unknown {name} {word!r}", "", f"one of {', '.join(known)}")
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise UsageError(f"--max-drop {self.max_drop:g} is no bound", "it is in points of the score", "--max-drop 0.5")
        if self.epochs < 0 or (self.epochs and not self.qat):
            raise UsageError(f"--epochs {self.epochs} has nothing to train", "epochs are those of --qat", "add --qat, or leave it out")
        if self.via == "stock" and (self.qat or self.keep_float or self.max_drop is not None or self.numbers not in ("auto", "int8")):
            raise UsageError(
                "--via stock writes whole int8 by its own calibration",
                "it carries neither trained scales nor mixed precision",
                "leave --via out, or the other option",
            )
        if not self.formats:
            raise UsageError("no format to write", "", "--format tflite,onnx")


def to_toml(settings: Settings) -> str:
    """run.toml: every effective setting, budgets as the user wrote them."""
    lines = ["# Every effective setting of this run.", ""]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name == "budgets":
            value = [b.text for b in value]
        if value is None:
            continue  # TOML has no word for "none": the key is left out
        lines.append(f"{field.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(v) for v in value)}]"
    return json.dumps(value, ensure_ascii=False)  # a JSON string or number is a TOML one


def preflight(out: str, force: bool) -> Path:
    """The output folder, checked before any work: it must be absent or empty (or ``force``), and its parent writable."""
    import os

    path = Path(out)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{out} exists and is a file", "the output is a folder of several files", "name another folder with -o")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise UsageError(
            f"{out} exists and is not empty", "an earlier result is not overwritten unasked", "name another folder, or add --force"
        )
    parent = path if path.is_dir() else next(p for p in path.resolve().parents if p.exists())
    if not parent.is_dir():
        raise UsageError(f"{out} can't be written", f"{parent.name} is a file, not a folder", "name another folder with -o")
    if not os.access(parent, os.W_OK):
        raise UsageError(
            f"{out} can't be written", f"there is no permission to write in {parent.name or parent}", "name another folder with -o"
        )
    return path
