"""How cycles are fitted to published times, and the networks that those are of."""
from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "emulation"))

from fitting import fitted, key_of, predicted_ms, rates_of
from networks import REFERENCES
from published import Published, rows, sources, speedup
from rates import CORES, Rates, Vector, fit, milliseconds

DRAWN = np.random.default_rng(0)
EVERY = rows()


def counts() -> dict[tuple[str, str, str], Vector]:
    drawn = np.random.default_rng(1)
    return {key_of(r): drawn.uniform(1e7, 1e9, 5) * (1, 1, 1, 0.01, 0.01) for r in EVERY}


def test_every_published_row_names_its_source_a_network_and_a_core() -> None:
    assert len(EVERY) > 150 and len(set(EVERY)) == len(EVERY)
    for r in EVERY:
        assert r.source in sources() and r.network in REFERENCES and r.core in CORES
        assert r.ms > 0 and 0.9 <= r.ghz <= 3 and r.threads in (1, 4) and r.numbers in ("float", "int8")


@pytest.mark.parametrize("name", [n for n, r in REFERENCES.items() if r.macs])
def test_a_reference_network_has_its_authors_multiplications_and_parameters(name: str) -> None:
    """Within 6 % of the multiplications (EfficientNet's authors count activations too) and 4 % of the parameters."""
    reference, macs = REFERENCES[name], 0

    def add(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += out.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            macs += module.weight.numel()

    with torch.device("meta"):
        model = reference.model()
        for module in model.modules():
            module.register_forward_hook(add)
        model(torch.empty(1, 3, reference.size, reference.size))
    assert macs / 1e6 == pytest.approx(reference.macs, rel=0.06, abs=1)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(reference.parameters, rel=0.04)


def test_many_times_decide_the_rates_and_none_leave_the_first_ones() -> None:
    true = Rates(0.5, 1.2, 0.7, 9.0, 15.0)
    events = [DRAWN.uniform(1e7, 1e9, 5) * (1, 1, 1, 0.01, 0.01) for _ in range(400)]
    ms = [milliseconds(e, true, 1.5) for e in events]
    found = fit(Rates(0.3, 0.6, 1.4, 5.0, 30.0), events, ms, [1.5] * 400, noise=0.01)
    assert found.vector == pytest.approx(true.vector, rel=0.02)
    first = CORES["a72"].first
    assert fit(first, [], [], []).vector == pytest.approx(first.vector)


def test_no_rate_falls_below_zero() -> None:
    events = [np.array([1e9, 0, 1e9, 0, 0.0]), np.array([1e9, 0, 2e9, 0, 0.0])]
    found = fit(CORES["a72"].first, events, [2000.0, 1000.0], [1.0, 1.0], noise=0.001)
    assert (found.vector >= 0).all()


@pytest.mark.parametrize("core", ["a72", "a73", "a76"])
def test_a_prediction_doesnt_know_what_its_own_publisher_said(core: str) -> None:
    """Another time from the same origin, or ten times the row's own, changes nothing; one of another origin does."""
    known = counts()
    row = next(r for r in EVERY if r.core == core and fitted(r))
    before = predicted_ms(row, known)
    assert predicted_ms(replace(row, ms=10 * row.ms), known) == before
    louder = [replace(r, ms=10 * r.ms) if r.origin == row.origin else r for r in EVERY]
    assert rates_of(core, known, without=row.origin, among=louder) == rates_of(core, known, without=row.origin)
    assert rates_of(core, known, among=louder) != rates_of(core, known)


def test_four_threads_speed_up_by_what_others_published() -> None:
    row = Published("raspberry-pi-5", "a76", 2.4, 4, "litert", "resnet18/224", "int8", 1.0, "detectors-2.18")
    assert speedup(row, "detectors") == 1.83 and speedup(row) == pytest.approx((1.83 + 2.27) / 2) and speedup(replace(row, threads=1)) == 1
