"""The end of a run: nothing that fails a gate is written, and what is written is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from edgelr.devices import Measurement
from edgelr.errors import BudgetError, GateError
from edgelr.pipeline.fit import SLOWER
from edgelr.pipeline.log import Log
from edgelr.pipeline.outputs import save
from edgelr.pipeline.plans import to_toml as plan_toml
from edgelr.pipeline.produce import Product
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.settings import to_toml as settings_toml
from edgelr.pipeline.source import Source
from edgelr.pipeline.streaming import Step
from edgelr.report import Report, to_json
from edgelr.vocabulary import Plan


def gates(report: Report, measured: Mapping[str, Measurement], settings: Settings, plan: Plan) -> None:
    """Raises BudgetError where a budget isn't met as measured or counted, GateError where the plan is slower than dense int8."""
    for line in report.budgets:
        if not line.met:
            raise BudgetError(
                f"the budget {line.asked} is not met",
                f"{line.value:.4g} {line.unit} on {line.on} ({line.how}{f', right within {line.band:.0%}' if line.band else ''}), "
                f"limit {line.limit:.4g}",
                f"ask for {line.value * (1 + line.band) * 1.02:.3g} {line.unit}, or a looser share",
                {line.kind: line.value},
            )
    for runtime, m in measured.items():
        ratio = m.ratio("plan", "dense").median
        if plan.factorised() and ratio > SLOWER and not settings.allow_slower:
            raise GateError(
                f"the compressed network is slower than dense int8 in {runtime}",
                f"{ratio:.2f} times as slow, {'measured side by side' if m['plan'].how == 'measured' else m['plan'].how + ' by its table'}",
                "loosen the budget, or add --allow-slower",
            )


def stored(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with a tied weight under the first of its names only, as ``load_weights`` takes it."""
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    for name, value in state.items():
        first.setdefault(id(value), name)
    return {name: state[name].detach().contiguous() for name in first.values()}


def write_out(out: Path, report: Report, product: Product, source: Source, settings: Settings, log: Log, step: Step | None = None) -> None:
    """All files of the contract."""
    from edgelr.report.page import to_html

    named = Plan({layer.name: product.plan[layer.name] for layer in source.layers if layer.schemes})
    texts = {
        "plan.toml": plan_toml(named, source.name, source.shape),
        "report.json": to_json(report),
        "report.html": to_html(report),
        "run.toml": settings_toml(replace(settings, model=settings.model or source.name)),
        "log.jsonl": log.jsonl(),
    }
    contents = {f"model.int8.{format}": data for format, data in product.files.items()}
    contents |= {f"model.step.int8.{format}": data for format, data in (step.files if step else {}).items()}
    contents["model.safetensors"] = safetensors_bytes(stored(product.model))
    save(out, contents | {name: text.encode() for name, text in texts.items()})
