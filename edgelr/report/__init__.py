"""Tells a run: report.json (contents, record), a summary on the terminal (terminal), one offline page (page).

The renderers are loaded when asked for, so that reading and writing report.json needs neither rich nor jinja2.
"""
from __future__ import annotations

from edgelr.report.contents import (
    SCHEMA,
    Artifact,
    BudgetLine,
    Dense,
    Form,
    FrontierPoint,
    Latency,
    LayerLatency,
    LayerLine,
    Milliseconds,
    ModelFacts,
    OpGroup,
    Ops,
    RankChange,
    Report,
    Reverted,
    Round,
    Search,
    Sensitivity,
    Source,
    Stage,
    TargetFacts,
    Training,
    TrainingStage,
)
from edgelr.report.record import from_json, safe_command, to_json

__all__ = [
    "SCHEMA",
    "Artifact",
    "BudgetLine",
    "Dense",
    "Form",
    "FrontierPoint",
    "Latency",
    "LayerLatency",
    "LayerLine",
    "Milliseconds",
    "ModelFacts",
    "OpGroup",
    "Ops",
    "RankChange",
    "Report",
    "Reverted",
    "Round",
    "Search",
    "Sensitivity",
    "Source",
    "Stage",
    "TargetFacts",
    "Training",
    "TrainingStage",
    "from_json",
    "safe_command",
    "to_json",
]
