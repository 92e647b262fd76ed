"""Rows of the report: budgets, layers with the reason of their choice, files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import metadata

from edgelr.devices import Measurement
from edgelr.factorize import choice_cost, max_rank
from edgelr.latency import FORMATS, Machine
from edgelr.pipeline.fit import Fitting
from edgelr.pipeline.produce import Judged
from edgelr.pipeline.source import Source
from edgelr.ranks import Table
from edgelr.report import Artifact, BudgetLine, Latency, LayerLatency, LayerLine, OpGroup, Ops
from edgelr.vocabulary import DENSE, Budget, Choice, Format, Plan

PACKAGES = ("edgelr", "torch", "numpy", "scipy", "onnx", "onnx-ir", "onnxruntime", "ai-edge-litert", "flatbuffers")
UNIT_US = {"us": 1.0, "ms": 1e3, "s": 1e6}


def versions() -> dict[str, str]:
    """The installed version of everything that a result depends on; "" where a package is absent."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    return found


def layer_lines(source: Source, plan: Plan, fitting: Fitting | None, why: Mapping[str, str], runtime: str) -> tuple[LayerLine, ...]:
    """A row for each layer of the folded network."""
    lines = []
    table = fitting.table() if fitting else {}
    groups = {n: g for g in table for n in fitting.factors.grouped.members(g)} if fitting else {}
    for layer in source.layers:
        choice = plan[layer.name]
        known = layer.kind in ("conv1d", "conv2d", "linear", "recurrent")
        params, macs = choice_cost(layer, choice) if known else (layer.params, layer.macs)
        full = max_rank(layer.weight_shape, choice.scheme, layer.groups) if choice != DENSE else None
        latency, size = None, params
        row = groups.get(layer.name, layer.name)
        if fitting is not None and (row, choice) in fitting.sizes:
            part = 1 / len(fitting.factors.grouped.members(row))  # each layer's of its group
            size = round(part * (fitting.sizes[row, choice].get("tflite") or next(iter(fitting.sizes[row, choice].values()))))
            prices = fitting.measured_prices.get(runtime)
            if prices is not None:
                latency = LayerLatency(part * prices.us[row, DENSE], part * prices.us[row, choice], prices.how)
        reason = why.get(layer.name) or (reasoned(row, choice, table, runtime) if row in table else "no search was asked for")
        if row != layer.name and layer.name not in why:
            reason = f"all of {row} together: {reason}"
        share = "" if choice.share is None else f"{choice.share.side} of {choice.share.group}"
        lines.append(
            LayerLine(layer.name, layer.kind, layer.weight_shape, choice.scheme, choice.rank, full, macs, size, latency, reason, share)
        )
    return tuple(lines)


def reasoned(name: str, choice: Choice, table: Table, runtime: str) -> str:
    """Why a layer with candidates, or a group, became what it became, in its own numbers."""
    rows = table[name]
    dense, others = rows[0], rows[1:]
    mine = next(r for r in rows if r.choice == choice)
    us = f"us:{runtime}"
    size = next((k for k in sorted(dense.costs, reverse=True) if k.startswith("bytes")), "params")
    unit = "bytes" if size.startswith("bytes") else "parameters"
    if choice == DENSE:
        if us in dense.costs and all(r.costs[us] >= dense.costs[us] for r in others):
            best = min(others, key=lambda r: r.costs[us])
            return f"no rank is faster here: best {best.choice}, {best.costs[us]:.1f} us"
        gentle = min(others, key=lambda r: r.error)
        return f"not needed; {gentle.choice} would shift outputs by {gentle.error:.1g} nats"
    saved = dense.costs[size] - mine.costs[size]
    time = f" and {dense.costs[us] - mine.costs[us]:.1f} us" if us in dense.costs else ""
    return f"saves {saved:,.0f} {unit}{time}; alone shifts outputs by {mine.error:.1g} nats"


def artifacts(
    files: Mapping[Format, bytes], judged: Mapping[Format, Judged], measured: Mapping[str, Measurement], runtimes: Mapping[Format, str]
) -> tuple[Artifact, ...]:
    """A row for each file. ``runtimes``: the runtime of each format."""
    rows = []
    for format, data in files.items():
        j = judged[format]
        m = measured.get(runtimes.get(format, ""))
        latency = (Latency.of(m["plan"]),) if m is not None else ()
        rows.append(
            Artifact(
                f"model.int8.{format}",
                format,
                len(data),
                hashlib.sha256(data).hexdigest(),
                Ops(j.ops.int8, j.ops.float, j.ops.other, j.ops.dynamic),
                j.ops.layout_ops,
                j.score,
                j.agreement,
                j.sqnr_db,
                j.reference,
                latency,
                accounting=OpGroup.of(j.rows),
                channels_last=j.channels_last,
            )
        )
    return tuple(rows)


def budget_lines(
    budgets: Sequence[Budget],
    files: Mapping[Format, bytes],
    dense_files: Mapping[Format, bytes],
    measured: Mapping[str, Measurement],
    counted: Mapping[str, float],
    source: Mapping[str, float],
    machine: Machine,
) -> tuple[BudgetLine, ...]:
    """A line for each budget and each file or runtime it holds for. A share's limit is of the dense network timed in the same run."""
    lines = []
    for b in budgets:
        if b.kind == "size":
            factor = {"b": 1, "kb": 1e3, "kib": 1024, "mb": 1e6, "mib": 1024**2}[b.unit.lower()]
            for format, data in files.items():
                limit = b.value * len(dense_files[format]) if b.relative else b.value
                lines.append(BudgetLine("size", limit / factor, b.unit, len(data) / factor, "counted", f"model.int8.{format}", b.text))
        elif b.kind == "latency":
            for runtime, m in measured.items():
                limit_ms = b.value * m["dense"].median if b.relative else b.value
                scale = 1e3 / UNIT_US[b.unit.lower()]
                band = machine.ratio_band(FORMATS[runtime]) if b.relative else machine.band(FORMATS[runtime])
                plan, on = m["plan"], f"{machine.on}, {runtime}"
                lines.append(BudgetLine("latency", limit_ms * scale, b.unit, plan.median * scale, plan.how, on, b.text, band))
        else:
            limit = b.value * source[b.kind] if b.relative else b.value
            lines.append(
                BudgetLine(b.kind, limit, "MACs" if b.kind == "macs" else "parameters", counted[b.kind], "counted", "the network", b.text)
            )
    return tuple(lines)


def summary(files: Mapping[Format, bytes], judged: Mapping[Format, Judged]) -> str:
    """Size and score of each file in a few words."""
    return ", ".join(f".{f} {len(d) / 1e3:.1f} KB, {judged[f].score.metric} {judged[f].score.value:.4f}" for f, d in files.items())
