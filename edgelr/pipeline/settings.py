"""What a run is asked to do: every setting with its default, and its record in run.toml."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from edgelr.errors import UsageError
from edgelr.quantization import Method as CalibrationMethod
from edgelr.vocabulary import Budget, Format, Scheme

TrainName = Literal["none", "finetune", "bsr", "lc", "lrpet", "rank-tuning", "auto"]
TRAIN: tuple[TrainName, ...] = ("none", "finetune", "bsr", "lc", "lrpet", "rank-tuning", "auto")
TOWARDS_RANKS = ("bsr", "lc", "lrpet", "rank-tuning")  # these train the whole network towards a plan, before it is factorised
TOWARDS_SHARED = "bsr"  # of these, the one that knows layers with a factor in common
SearchMethod = Literal["beam", "additive", "learning-compression", "rank-tuning", "energy", "uniform", "dense"]
METHODS: tuple[SearchMethod, ...] = ("beam", "additive", "learning-compression", "rank-tuning", "energy", "uniform", "dense")
SchemeWord = Scheme | Literal["shared"]  # "shared": layers in groups, with a factor in common, of the schemes named beside it
SCHEMES: tuple[Scheme, ...] = ("channel", "spatial", "linear", "recurrent", "gates")
SHAREABLE: tuple[Scheme, ...] = ("channel", "spatial", "linear")
FORMATS: tuple[Format, ...] = ("tflite", "onnx")


@dataclass(frozen=True)
class Settings:
    """One run. ``model`` and ``data`` are how the user named them; ``metric`` "" means accuracy where there are labels, else agreement.

    ``numbers`` is the number format: int8 whole, mixed (what is slow on integers in float), dynamic (int8 weights, float activations),
    or float; auto measures. ``keep_float`` are patterns of module names; ``max_drop`` is in points.
    ``max_loss``, of rank-tuning without a budget, is what truncation may cost of the held-out score, in points.
    ``train`` is the recipe of training in float. ``epochs`` are its, or those of ``qat`` where it is "none"; 0 means as many as suit.
    ``time`` ("30min") bounds it, ``distill`` weighs the source's outputs beside labels, ``resume`` takes up an interrupted training.
    ``groups`` are names or patterns of layers to share factors, separated by commas, an entry a group; () finds them.
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
    schemes: tuple[SchemeWord, ...] = SCHEMES
    groups: tuple[str, ...] = ()
    formats: tuple[Format, ...] = FORMATS
    metric: str = ""
    calibration: CalibrationMethod = "minmax"
    calibration_samples: int = 512
    score_samples: int = 1000
    numbers: Literal["auto", "int8", "mixed", "dynamic", "float"] = "auto"
    keep_float: tuple[str, ...] = ()
    max_drop: float | None = None
    max_loss: float | None = None
    train: TrainName = "none"
    time: str = ""
    distill: float = 1.0
    augment: Literal["none", "crop-flip"] = "none"
    resume: bool = False
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
            ("scheme", self.schemes, (*SCHEMES, "shared")),
            ("format", self.formats, FORMATS),
            ("calibration", (self.calibration,), ("minmax", "percentile", "mse")),
            ("via", (self.via,), ("direct", "stock")),
            ("recipe of training", (self.train,), TRAIN),
            ("augmentation", (self.augment,), ("none", "crop-flip")),
            ("number format", (self.numbers,), ("auto", "int8", "mixed", "dynamic", "float")),
        ):
            for word in value:
                if word not in known:
                    raise UsageError(f"unknown {name} {word!r}", "", f"one of {', '.join(known)}")
        if self.groups and not self.sharing:
            raise UsageError("--group has nothing to group", "layers share factors with --scheme shared only", "--scheme shared")
        if self.sharing and self.via == "stock":
            raise UsageError("--via stock stores a shared factor once for each layer", "the stock converters write every weight of its own",
                             "leave --via out, or shared")
        self._check_max_loss()
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise UsageError(f"--max-drop {self.max_drop:g} is no bound", "it is in points of the score", "--max-drop 0.5")
        if self.epochs < 0 or (self.epochs and not self.qat and self.train == "none"):
            raise UsageError(f"--epochs {self.epochs} has nothing to train", "epochs are those of --train, or of --qat without it",
                             "add --train finetune or --qat, or leave it out")  # fmt: skip
        self._check_training()
        if self.via == "stock" and (self.qat or self.keep_float or self.max_drop is not None or self.numbers not in ("auto", "int8")):
            raise UsageError(
                "--via stock writes whole int8 by its own calibration",
                "it carries neither trained scales nor mixed precision",
                "leave --via out, or the other option",
            )
        if not self.formats:
            raise UsageError("no format to write", "", "--format tflite,onnx")

    def _check_max_loss(self) -> None:
        if self.max_loss is None:
            return
        if self.method != "rank-tuning":
            raise UsageError("--max-loss is for --method rank-tuning", f"{self.method} chooses a plan by budgets alone",
                             "add --method rank-tuning, or give a --budget in its place")
        if self.budgets:
            raise UsageError("--max-loss and --budget both say how small the network is to be",
                             "--max-loss asks for the smallest that loses no more, a budget for the best within it", "leave one out")
        if not 0 <= self.max_loss <= 100:
            raise UsageError(f"--max-loss {self.max_loss:g} is no bound", "it is in points of the score", "--max-loss 0.5")

    @property
    def seconds(self) -> float:
        """``time`` in seconds; 0 where there is no bound."""
        return seconds_of(self.time) if self.time else 0.0

    def _check_training(self) -> None:
        given = {"--time": self.time, "--augment": self.augment != "none", "--distill": self.distill != 1.0, "--resume": self.resume}
        if self.train == "none" and (idle := [name for name, used in given.items() if used]):
            raise UsageError(f"{idle[0]} has nothing to train", "it belongs to --train", "add --train finetune, or leave it out")
        if self.time:
            seconds_of(self.time)
        if not 0 <= self.distill < float("inf"):
            raise UsageError(f"--distill {self.distill:g} is no weight", "it is 0 or more, labels weigh 1", "--distill 1")
        if self.train in TOWARDS_RANKS and self.train != TOWARDS_SHARED and self.sharing:
            raise UsageError(f"--train {self.train} doesn't train towards shared factors", "it gives each layer's matrix a rank of its own",
                             f"--train {TOWARDS_SHARED} or finetune, or leave shared out of --scheme")  # fmt: skip
        if self.train in TOWARDS_RANKS and (not (self.budgets or self.max_loss is not None) or self.method == "dense"):
            raise UsageError(
                f"there is nothing for --train {self.train} to compress",
                "it trains a network towards the ranks of a plan, and nothing is to be factorised",
                "give a --budget, or --train finetune to train the network as it is",
            )
        if self.resume and not self.out:
            raise UsageError("there is nothing to resume", "an interrupted training is kept beside its output folder", "name it with -o")

    @property
    def sharing(self) -> bool:
        """Whether layers may have factors in common."""
        return "shared" in self.schemes

    @property
    def alone(self) -> tuple[Scheme, ...]:
        """The schemes that a layer may take for itself."""
        return tuple(s for s in self.schemes if s != "shared")

    @property
    def together(self) -> tuple[Scheme, ...]:
        """The schemes that layers of a group may take: those named beside "shared", all that can where none of these is."""
        named = tuple(s for s in self.alone if s in SHAREABLE)
        return named or SHAREABLE


def seconds_of(text: str) -> float:
    """ "90s", "30min", "2h" in seconds. Raises UsageError."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(s|min|h)\s*", text)
    if not match or not float(match[1]) > 0:
        raise UsageError(f"can't read the time {text!r}", "a time is a number above 0 with a unit", "90s, 30min or 2h")
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]]


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
