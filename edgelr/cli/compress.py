"""edgelr compress, plan and quantize: the main job, the same without writing, and the same without factorising."""

from __future__ import annotations

import sys
from typing import Any

from edgelr.cli import options as o
from edgelr.cli.render import answer, stdout_kept, teller
from edgelr.errors import UsageError


def compress(
    model: o.Model,
    data: o.Data = "",
    budget: o.Budgets = None,
    out: o.Out = "",
    target: o.Target = "host",
    weights: o.Weights = "",
    input: o.Input = "",
    recipe: o.Recipe = "",
    method: o.Method = "beam",
    scheme: o.Scheme = "channel,spatial,linear,recurrent,gates",
    format: o.Format = "tflite,onnx",
    metric: o.Metric = "",
    calibration: o.Calibration = "minmax",
    calibration_samples: o.CalibrationSamples = 512,
    score_samples: o.ScoreSamples = 1000,
    numbers: o.Numbers = "auto",
    keep_float: o.KeepFloat = None,
    max_drop: o.MaxDrop = None,
    qat: o.Qat = False,
    epochs: o.Epochs = 0,
    streaming: o.Streaming = False,
    via: o.Via = "direct",
    seed: o.Seed = 0,
    allow_slower: o.AllowSlower = False,
    force: o.Force = False,
    dry_run: o.DryRun = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Compress a network to its budgets, measure it, and write both files and the report."""
    if not budget:
        raise UsageError("there is no budget", "compress needs to know what to meet", "--budget 70%ms, or edgelr quantize for dense int8")
    if not out and not dry_run:
        raise UsageError("there is no output folder", "the files need a place", "-o out/, or --dry-run to see the plan only")
    _run(
        quiet,
        json,
        o.settings(
            model=model,
            data=data,
            budgets=budget,
            out="" if dry_run else out,
            target=target,
            weights=weights,
            input=input,
            recipe=recipe,
            method=method,
            scheme=scheme,
            format=format,
            metric=metric,
            calibration=calibration,
            calibration_samples=calibration_samples,
            score_samples=score_samples,
            numbers=numbers,
            keep_float=keep_float,
            max_drop=max_drop,
            qat=qat,
            epochs=epochs,
            streaming=streaming,
            via=via,
            seed=seed,
            allow_slower=allow_slower,
            force=force,
        ),
    )


def plan(
    model: o.Model,
    data: o.Data = "",
    budget: o.Budgets = None,
    target: o.Target = "host",
    weights: o.Weights = "",
    input: o.Input = "",
    recipe: o.Recipe = "",
    method: o.Method = "beam",
    scheme: o.Scheme = "channel,spatial,linear,recurrent,gates",
    format: o.Format = "tflite,onnx",
    metric: o.Metric = "",
    calibration: o.Calibration = "minmax",
    calibration_samples: o.CalibrationSamples = 512,
    score_samples: o.ScoreSamples = 1000,
    numbers: o.Numbers = "auto",
    keep_float: o.KeepFloat = None,
    max_drop: o.MaxDrop = None,
    qat: o.Qat = False,
    epochs: o.Epochs = 0,
    streaming: o.Streaming = False,
    seed: o.Seed = 0,
    allow_slower: o.AllowSlower = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Choose and measure a plan without writing anything (the same as compress --dry-run)."""
    compress(
        model,
        data,
        budget,
        "",
        target,
        weights,
        input,
        recipe,
        method,
        scheme,
        format,
        metric,
        calibration,
        calibration_samples,
        score_samples,
        numbers,
        keep_float,
        max_drop,
        qat,
        epochs,
        streaming,
        "direct",
        seed,
        allow_slower,
        False,
        True,
        json,
        quiet,
    )


def quantize(
    model: o.Model,
    data: o.Data = "",
    out: o.Out = "",
    target: o.Target = "host",
    weights: o.Weights = "",
    input: o.Input = "",
    recipe: o.Recipe = "",
    format: o.Format = "tflite,onnx",
    metric: o.Metric = "",
    calibration: o.Calibration = "minmax",
    calibration_samples: o.CalibrationSamples = 512,
    numbers: o.Numbers = "auto",
    keep_float: o.KeepFloat = None,
    max_drop: o.MaxDrop = None,
    qat: o.Qat = False,
    epochs: o.Epochs = 0,
    streaming: o.Streaming = False,
    via: o.Via = "direct",
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Write dense int8 files: nothing is factorised."""
    if not out:
        raise UsageError("there is no output folder", "the files need a place", "-o out/")
    _run(
        quiet,
        json,
        o.settings(
            model=model,
            data=data,
            out=out,
            target=target,
            weights=weights,
            input=input,
            recipe=recipe,
            method="dense",
            format=format,
            metric=metric,
            calibration=calibration,
            calibration_samples=calibration_samples,
            numbers=numbers,
            keep_float=keep_float,
            max_drop=max_drop,
            qat=qat,
            epochs=epochs,
            streaming=streaming,
            via=via,
            seed=seed,
            force=force,
        ),
    )


def _run(quiet: bool, json: bool, settings: Any) -> None:
    from edgelr.pipeline import compress as journey
    from edgelr.report import safe_command, to_json

    with stdout_kept():
        report = journey(settings, tell=teller(quiet), command=safe_command(["edgelr", *sys.argv[1:]]))
    if json:
        answer(to_json(report))
        return
    from edgelr.report.terminal import show

    show(report)
    if settings.out:
        answer(f"\nreport: {settings.out.rstrip('/')}/report.html")
