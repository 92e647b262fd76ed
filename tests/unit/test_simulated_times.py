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

from core_pairs import multiple
from fitting import fitted, key_of, predicted_ms, rates_of
from networks import REFERENCES
from published import Published, rows, sources, speedup
from rates import CORES, Rates, Vector, counted_as, fit, milliseconds

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


def test_a_core_like_another_takes_its_fitted_cycles_times_what_both_took_elsewhere() -> None:
    known, times = counts(), multiple("a55", "a76").times
    assert 2.4 < times < 4.6 and multiple("a78", "a76").times == pytest.approx(1, abs=0.1) and multiple("x1", "a76").times == 1
    assert rates_of("a55", known).vector == pytest.approx(times * rates_of("a76", known).vector)
    assert (counted_as("a55", "int8"), counted_as("a55", "dynamic"), counted_as("a55", "float")) == ("a55", "a55", "a53")
    assert all(c.like in ("", *CORES) and c.floats in ("", *CORES) for c in CORES.values())


def test_a_multiple_is_the_mean_of_chips_and_tells_how_far_networks_are_from_it(tmp_path: Path) -> None:
    """A chip timed on both cores against itself, in cycles; another against those timed on the other core alone."""
    file, of = tmp_path / "pairs.tsv", "source\tchip\tcore\tghz\tnetwork\tnumbers\tms\n"
    both = "a\tboth\tslow\t1\t%s\tint8\t%g\na\tboth\tquick\t2\t%s\tint8\t1\n"
    alone = "a\talone\tslow\t1\tn\tint8\t%g\na\tone\tquick\t1\tn\tint8\t1\na\tother\tquick\t1\tn\tint8\t4\n"
    file.write_text(of + both % ("n", 4, "n") + both % ("m", 8, "m") + both % ("o", 6, "o") + "b\tlost\tslow\t1\tn\tint8\t1\n")
    found = multiple("slow", "quick", file)
    assert found.by_chip == {"both": 3} and found.times == pytest.approx(3)
    assert found.errors == pytest.approx((1 / 2, 1 / 4, 0))
    assert max(found.ratio_errors) == pytest.approx(1) and len(found.ratio_errors) == 6
    file.write_text(of + both % ("n", 4, "n") + alone % 16)
    found = multiple("slow", "quick", file)
    assert found.by_chip == pytest.approx({"both": 2, "alone": 8}) and found.times == pytest.approx(4)
    assert multiple("slow", "unknown", file).times == 1 and not multiple("slow", "unknown", file).errors


def test_four_threads_speed_up_by_what_others_published() -> None:
    row = Published("raspberry-pi-5", "a76", 2.4, 4, "litert", "resnet18/224", "int8", 1.0, "detectors-2.18")
    assert speedup(row, "detectors") == 1.83 and speedup(row) == pytest.approx((1.83 + 2.27) / 2) and speedup(replace(row, threads=1)) == 1
