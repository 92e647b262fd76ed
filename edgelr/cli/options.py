"""The options that commands share, and how they become settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgelr.errors import UsageError

if TYPE_CHECKING:
    from edgelr.pipeline import Settings

Model = Annotated[
    str, typer.Argument(help="FILE.py:FUNCTION, package.module:function, timm:NAME or torchvision:NAME. Naming a model's Python runs it.")
]
Data = Annotated[str, typer.Option("--data", help="An .npz, a folder (with --recipe), or FILE.py:FUNCTION returning a Data.")]
Weights = Annotated[str, typer.Option("--weights", help="A .safetensors file (or a .pt that holds only tensors).")]
Input = Annotated[str, typer.Option("--input", help="The input's shape with batch, as 1x3x224x224; default: the data's.")]
Target = Annotated[
    str, typer.Option("--target", help="A name under targets/ or a path to a folder; @ssh://pi@192.0.2.7 or @adb:SERIAL attaches a device.")
]
Table = Annotated[str, typer.Option("--table", help="A latency table to use instead of the target's own.")]
Strict = Annotated[bool, typer.Option("--strict", help="End with code 7 where a measurement can't be trusted: throttled, drifting.")]
Budgets = Annotated[
    list[str] | None,
    typer.Option("--budget", help="12ms, 400KB, 30MMAC, 0.25Mparams, or a share: 70%ms, 50%KB, 33%MAC. Repeatable; all must hold."),
]
Out = Annotated[str, typer.Option("-o", "--out", help="The folder to write.")]
Recipe = Annotated[str, typer.Option("--recipe", help="How files become inputs: a name under calibration/, or a .toml of yours.")]
Method = Annotated[str, typer.Option("--method", help="beam, additive, learning-compression, rank-tuning, energy, uniform or dense.")]
Scheme = Annotated[str, typer.Option("--scheme", help="channel,spatial,linear,recurrent,gates, and shared (factors in common).")]
Group = Annotated[
    list[str] | None,
    typer.Option("--group", help="Layers that share a factor (--scheme shared), as 'blocks.[3-5].conv1'. Repeatable; default: found."),
]
Format = Annotated[str, typer.Option("--format", help="tflite,onnx")]
Metric = Annotated[
    str, typer.Option("--metric", help="accuracy, agreement, or FILE.py:FUNCTION; default: accuracy where there are labels.")
]
Calibration = Annotated[str, typer.Option("--calibration", help="How ranges are found: minmax, percentile or mse.")]
CalibrationSamples = Annotated[int, typer.Option("--calibration-samples", min=1, help="At most so many calibration samples.")]
ScoreSamples = Annotated[int, typer.Option("--score-samples", min=1, help="At most so many held-out samples score a plan.")]
Numbers = Annotated[
    str,
    typer.Option("--numbers", help="int8 (whole), mixed (slow operations in float), dynamic (int8 weights), float; auto measures."),
]
KeepFloat = Annotated[
    list[str] | None, typer.Option("--keep-float", help="Keep these modules in float, as 'blocks.3.*'. Repeatable, or separated by commas.")
]
MaxDrop = Annotated[
    float | None, typer.Option("--max-drop", help="Points of score that int8 may cost; the worst operations go back to float.")
]
MaxLoss = Annotated[
    float | None,
    typer.Option("--max-loss", help="Of --method rank-tuning without a budget: points of held-out score that truncation may cost."),
]
Train = Annotated[
    str, typer.Option("--train", help="none, finetune, bsr, lc, lrpet, rank-tuning; auto picks (docs/training.md). Needs a train part.")
]
Time = Annotated[str, typer.Option("--time", help="What --train may take: 90s, 30min, 2h.")]
Distill = Annotated[float, typer.Option("--distill", help="Of --train: the weight of the source's outputs beside labels.")]
Augment = Annotated[str, typer.Option("--augment", help="Of --train: none, or crop-flip for images.")]
Resume = Annotated[bool, typer.Option("--resume", help="Take up the interrupted training of this output folder.")]
Qat = Annotated[bool, typer.Option("--qat/--no-qat", help="Train on the integer grid before writing (needs a train part).")]
Streaming = Annotated[bool, typer.Option("--streaming", help="Also write a recurrent network as one step, its states in and out.")]
Epochs = Annotated[int, typer.Option("--epochs", min=0, help="Epochs of --train, or of --qat without it; 0: as many as suit.")]
Via = Annotated[str, typer.Option("--via", help="direct, or stock: write by the stock converters (pip install 'edgelr[stock]').")]
Seed = Annotated[int, typer.Option("--seed", min=0)]
AllowSlower = Annotated[bool, typer.Option("--allow-slower", help="Accept a network that is slower than dense int8.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the files of an existing output folder.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Choose and measure, write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr, warnings and errors alone.")]

# Every option of a run: its kind, and what it is where it isn't given. Commands take them by name.
RUN: dict[str, tuple[Any, Any]] = {
    "data": (Data, ""),
    "budget": (Budgets, None),
    "out": (Out, ""),
    "target": (Target, "host"),
    "table": (Table, ""),
    "weights": (Weights, ""),
    "input": (Input, ""),
    "recipe": (Recipe, ""),
    "method": (Method, "beam"),
    "scheme": (Scheme, "channel,spatial,linear,recurrent,gates"),
    "group": (Group, None),
    "format": (Format, "tflite,onnx"),
    "metric": (Metric, ""),
    "calibration": (Calibration, "minmax"),
    "calibration_samples": (CalibrationSamples, 512),
    "score_samples": (ScoreSamples, 1000),
    "numbers": (Numbers, "auto"),
    "keep_float": (KeepFloat, None),
    "max_drop": (MaxDrop, None),
    "max_loss": (MaxLoss, None),
    "train": (Train, "none"),
    "time": (Time, ""),
    "distill": (Distill, 1.0),
    "augment": (Augment, "none"),
    "resume": (Resume, False),
    "qat": (Qat, False),
    "epochs": (Epochs, 0),
    "streaming": (Streaming, False),
    "via": (Via, "direct"),
    "seed": (Seed, 0),
    "strict": (Strict, False),
    "allow_slower": (AllowSlower, False),
    "force": (Force, False),
    "dry_run": (DryRun, False),
    "json": (Json, False),
    "quiet": (Quiet, False),
}


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that takes a model and these options of a run, and gets each by its name. Options are spelled once, in ``RUN``."""

    def command(work: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(work)
        def start(model: str, **words: Any) -> None:
            work(model, **words)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter("model", kind, annotation=Model)]
        parameters += [inspect.Parameter(n, kind, default=RUN[n][1], annotation=RUN[n][0]) for n in names]
        start.__signature__ = inspect.Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
        start.__annotations__ = {p.name: p.annotation for p in parameters}
        del start.__wrapped__  # typer would read the options of what is wrapped
        return start

    return command


def shape_of(text: str) -> tuple[int, ...]:
    """ "1x3x224x224" as numbers; () for "". Raises UsageError."""
    if not text:
        return ()
    try:
        return tuple(int(n) for n in text.lower().replace(",", "x").split("x"))
    except ValueError as error:
        raise UsageError(
            f"can't read the shape {text!r}", "a shape is whole numbers joined by x, the batch first", "--input 1x3x224x224"
        ) from error


def words(text: str) -> tuple[str, ...]:
    """ "a,b" as a tuple."""
    return tuple(w.strip() for w in text.split(",") if w.strip())


def settings(
    *,
    budget: list[str] | None = None,
    keep_float: list[str] | None = None,
    group: list[str] | None = None,
    input: str = "",
    scheme: str = "channel,spatial,linear,recurrent,gates",
    format: str = "tflite,onnx",
    **other: Any,
) -> Settings:
    """Settings from the words of the command line. Raises UsageError."""
    from edgelr.pipeline import Settings, parse_budget

    chosen: dict[str, Any] = {
        "budgets": tuple(parse_budget(b) for b in budget or ()),
        "input_shape": shape_of(input),
        "schemes": words(scheme),
        "groups": tuple(group or ()),
        "formats": words(format),
        "keep_float": tuple(p for pattern in keep_float or () for p in words(pattern)),
    }
    return Settings(**chosen, **other)
