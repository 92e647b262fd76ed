"""Rounds of choosing: never slower than dense, and sizes and prices corrected until the files fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from journey_sample import arrays, network

from edgelr.devices.measure import Measurement
from edgelr.errors import BudgetError, Exit, GateError
from edgelr.latency import Here, Prices, pair
from edgelr.pipeline.candidates import Factors, choices, factorisable
from edgelr.pipeline.files import draft, planned
from edgelr.pipeline.fit import Fitting
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.search import Searcher
from edgelr.pipeline.sizes import sizes
from edgelr.pipeline.source import Source, inspect
from edgelr.vocabulary import DENSE, Choice, Format, How, Plan, Timing

ON = "a board"
BOARD = Here(ON, {"onnx": "onnxruntime"})


@cache
def parts() -> tuple[Source, Factors, list[Any], dict[str, tuple[Choice, ...]]]:
    source = inspect("tiny", network(), (1, 8, 8))
    able, _, _ = factorisable(source.layers, source.graph, source.folded)
    options = choices(able, ("channel", "spatial"), 16, ["bytes:onnx"])
    factors = Factors(source)
    x = torch.from_numpy(arrays()["x_val"])
    factors.prepare([w for w in able if w.name in options], ("channel", "spatial"), lambda: [x])
    return source, factors, able, options


@dataclass
class OnBoard(Fitting):
    """A board on which every plan takes exactly what ``truth`` says."""

    truth: dict[str, Prices] = field(default_factory=dict)
    measured_plans: list[int] = field(default_factory=list)
    current: Plan = field(default_factory=Plan)

    def measured(self, files: Mapping[Any, bytes]) -> dict[str, Measurement]:
        found = {}
        for r, p in self.truth.items():
            us = {"dense": p.predicted_us(Plan(), self.options), "plan": p.predicted_us(self.plan_of(files), self.options)}
            timings = {n: Timing(ON, r, 1, v / 1e3, v / 1e3, v / 1e3, 50) for n, v in us.items()}
            found[r] = Measurement(timings, {n: (v / 1e3,) * 5 for n, v in us.items()}, dict.fromkeys(us, 0.0), (), "wall time")
        return found

    def plan_of(self, files: Mapping[Any, bytes]) -> Plan:
        return self.current


def fitting(
    limit_bytes: float,
    us: Mapping[str, float] | None = None,
    *,
    never_slower: bool = False,
    true_us: Mapping[str, float] | None = None,
    understate: int = 0,
    limit_us: float | None = None,
) -> OnBoard:
    """``us``: dense and factorised price of every layer on the made-up board; ``understate``: bytes that each factorised layer hides."""
    source, factors, able, options = parts()
    x = torch.from_numpy(arrays()["x_val"])
    scorer = GraphScorer(source.graph, x, torch.from_numpy(arrays()["y_val"]), factors.product)
    searcher = Searcher("additive", scorer, factors, source.macs or 1)
    searcher.prepare(options)
    own = sizes(source.graph, options, factors, ("onnx",), Precision())
    dense = draft(source.graph, ("onnx",), Precision())
    base = {"bytes:onnx": float(len(dense["onnx"]) - sum(own[n, DENSE]["onnx"] for n in options))}
    told = {k: {f: n - (understate if k[1] != DENSE else 0) for f, n in v.items()} for k, v in own.items()}

    def prices(each: Mapping[str, float] | None) -> dict[str, Prices]:
        if each is None:
            return {}
        table = {(n, c): each["dense" if c == DENSE else "pair"] for n, found in options.items() for c in (DENSE, *found)}
        return {"onnxruntime": Prices("onnxruntime", ON, table, 10.0)}

    limits = {"bytes:onnx": limit_bytes} | ({"us:onnxruntime": limit_us} if limit_us else {})
    made = OnBoard(
        source,
        able,
        options,
        factors,
        searcher,
        limits,
        base,
        told,
        prices(us),
        dense,
        BOARD,
        never_slower,
        {},
        Precision(),
        truth=prices(true_us or us),
    )
    find = searcher.find

    def remember(*args: Any) -> Any:
        found = find(*args)
        made.current = found[0]
        return found

    searcher.find = remember  # type: ignore[method-assign]
    return made


@cache
def dense_bytes() -> int:
    return len(draft(parts()[0].graph, ("onnx",), Precision())["onnx"])


def written_bytes(made: Fitting, plan: Plan) -> int:
    return len(draft(planned(made.source.graph, plan, made.factors), ("onnx",), Precision())["onnx"])


def test_where_every_pair_is_dearer_and_dense_fits_all_stays_dense() -> None:
    fitted = fitting(dense_bytes(), {"dense": 50.0, "pair": 60.0}, never_slower=True).fit()
    assert not fitted.plan.factorised() and len(fitted.rounds) == 1


def test_where_only_slower_plans_fit_the_error_names_the_way_out() -> None:
    with pytest.raises(GateError) as told:
        fitting(0.5 * dense_bytes(), {"dense": 50.0, "pair": 60.0}, never_slower=True).fit()
    assert told.value.exit_code == Exit.GATE == 5 and "--allow-slower" in told.value.try_ and "slow" in told.value.try_


def test_allowed_to_be_slower_the_same_budget_is_met() -> None:
    made = fitting(0.5 * dense_bytes(), {"dense": 50.0, "pair": 60.0})
    plan = made.fit().plan
    assert plan.factorised() and written_bytes(made, plan) <= 0.5 * dense_bytes()


def test_a_plan_priced_as_faster_but_measured_slower_is_not_taken() -> None:
    made = fitting(0.5 * dense_bytes(), {"dense": 50.0, "pair": 40.0}, never_slower=True, true_us={"dense": 50.0, "pair": 60.0})
    with pytest.raises((GateError, BudgetError)):
        made.fit()


def test_a_limit_just_above_dense_is_met_by_dense_and_told_in_the_users_number_where_it_is_not() -> None:
    free = fitting(
        1.01 * dense_bytes(), {"dense": 50.0, "pair": 40.0}, never_slower=True, true_us={"dense": 50.0, "pair": 60.0}, limit_us=111.0
    )
    assert not free.fit().plan.factorised()
    with pytest.raises(BudgetError, match=r"0\.109 ms on onnxruntime asked"):
        fitting(dense_bytes(), {"dense": 50.0, "pair": 60.0}, limit_us=109.0).fit()


def test_a_size_that_no_plan_reaches_is_refused_with_the_least() -> None:
    with pytest.raises(BudgetError) as told:
        fitting(100).fit()
    assert 100 < told.value.least["bytes:onnx"] < dense_bytes()


@pytest.mark.parametrize("understate", [0, 300, 1000])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_sizes_are_corrected_until_the_file_fits(understate: int, share: float) -> None:
    made = fitting(share * dense_bytes(), understate=understate)
    plan = made.fit().plan
    assert plan.factorised()
    assert written_bytes(made, plan) <= share * dense_bytes()


def test_a_price_that_was_too_low_is_corrected_until_the_limit_holds_as_measured() -> None:
    _, _, _, options = parts()
    limit = 10 + 50 * len(options) - 8.0
    made = fitting(dense_bytes(), {"dense": 50.0, "pair": 30.0}, true_us={"dense": 50.0, "pair": 39.0}, limit_us=limit)
    fitted = made.fit()
    assert made.truth["onnxruntime"].predicted_us(fitted.plan, options) <= limit
    last = fitted.rounds[-1]
    assert last.predicted_ms["onnxruntime"] == pytest.approx(last.measured_ms["onnxruntime"], rel=0.05)


def test_one_and_the_same_file_is_as_fast_as_itself() -> None:
    data = draft(parts()[0].graph, ("onnx",), Precision())["onnx"]
    m = pair(Here("this CPU", {"onnx": "onnxruntime"}), data, data, "onnx", rounds=3)
    assert m["plan"] == m["dense"] and m.ratio("plan", "dense").median == 1.0


@dataclass(frozen=True)
class OnPaper(Here):
    """No board, but a table that is right within 20 %, and within 5 % for ratios."""

    how: How = "simulated"

    def band(self, format: Format) -> float:
        return 0.2

    def ratio_band(self, format: Format) -> float:
        return 0.05


def on_paper(limit_us: float, share: float | None = None) -> OnBoard:
    made = fitting(1e9, {"dense": 100.0, "pair": 60.0}, limit_us=limit_us)
    made.machine = OnPaper(ON, {"onnx": "onnxruntime"})
    made.shares = {"us:onnxruntime": share} if share else {}
    return made


def test_a_budget_on_a_table_is_kept_with_the_tables_own_error() -> None:
    count = len(parts()[3])
    dense_us = 10 + 100 * count
    made = on_paper(dense_us)  # a measured network would be dense here
    fitted = made.fit()
    assert made.prices["onnxruntime"].predicted_us(fitted.plan, made.options) * 1.2 <= dense_us


def test_a_share_of_a_table_is_kept_with_the_error_of_ratios() -> None:
    count = len(parts()[3])
    dense_us = 10 + 100 * count
    made = on_paper(0.9 * dense_us, 0.9)
    fitted = made.fit()
    assert made.prices["onnxruntime"].predicted_us(fitted.plan, made.options) * 1.05 <= 0.9 * dense_us


def test_what_only_fails_for_a_tables_margin_says_so() -> None:
    least_us = 10 + 60 * len(parts()[3])
    with pytest.raises(BudgetError) as failed:
        on_paper(least_us * 1.1).fit()
    assert "within 20%" in failed.value.why and "simulated" in failed.value.why
    assert "attach the device" in failed.value.try_
