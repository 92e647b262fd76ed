"""Budgets: what users write is what is meant, and every kind becomes limits on the right costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelr.errors import UsageError
from edgelr.pipeline.budgets import cost_names, limits, parse_budget
from edgelr.vocabulary import Budget

UNITS = {
    "us": ("latency", 1e-3), "ms": ("latency", 1), "s": ("latency", 1e3),
    "B": ("size", 1), "KB": ("size", 1000), "KiB": ("size", 1024), "MB": ("size", 10**6), "MiB": ("size", 1024**2),
    "MAC": ("macs", 1), "MACs": ("macs", 1), "kMAC": ("macs", 1e3), "MMAC": ("macs", 1e6), "GMAC": ("macs", 1e9),
    "params": ("params", 1), "kparams": ("params", 1e3), "Mparams": ("params", 1e6),
}  # fmt: skip
RUNTIMES, FORMATS = ("litert", "onnxruntime"), ("tflite", "onnx")
DENSE = {"us:litert": 2000.0, "us:onnxruntime": 4000.0, "bytes:tflite": 10_000.0, "bytes:onnx": 8_000.0, "macs": 5e6, "params": 9e3}


@pytest.mark.parametrize(
    ("text", "kind", "value", "relative"),
    [
        ("12ms", "latency", 12, False),
        ("400KB", "size", 400_000, False),
        ("400KiB", "size", 409_600, False),
        ("1.5MB", "size", 1.5e6, False),
        ("30MMAC", "macs", 30e6, False),
        ("0.25Mparams", "params", 250_000, False),
        ("50%ms", "latency", 0.5, True),
        ("40%KB", "size", 0.4, True),
        ("33%MAC", "macs", 0.33, True),
        ("25%params", "params", 0.25, True),
    ],
)
def test_the_budgets_of_the_contract_mean_what_it_says(text: str, kind: str, value: float, relative: bool) -> None:
    budget = parse_budget(text)
    assert (budget.kind, budget.relative, budget.text) == (kind, relative, text)
    assert budget.value == pytest.approx(value, rel=1e-12)


@given(st.decimals("0.001", "99999", places=3), st.sampled_from(sorted(UNITS)), st.booleans(), st.sampled_from(["", " "]), st.booleans())
def test_a_number_with_any_unit_is_read_in_any_case_and_spacing(number: object, unit: str, share: bool, space: str, upper: bool) -> None:
    kind, factor = UNITS[unit]
    written = unit.upper() if upper else unit
    text = f"{space}{number}{space}{'%' if share else ''}{space}{written}{space}"
    budget = parse_budget(text)
    assert budget.kind == kind and budget.unit == written and budget.text == text.strip()
    assert budget.value == pytest.approx(float(str(number)) * (0.01 if share else factor), rel=1e-12)


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_a_usage_error_that_shows_how(text: str) -> None:
    try:
        budget = parse_budget(text)
    except UsageError as error:
        assert error.what and error.try_
    else:
        assert isinstance(budget, Budget) and budget.value > 0


@pytest.mark.parametrize(
    "text", ["", "12", "ms", "-3ms", "0KB", "0%ms", "12 parsecs", "50%", "%KB", "1,5MB", "nanms", "infKB", "1e999ms", "12msms", "½KB"]
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_budget(text)


def test_a_size_holds_for_each_file_and_a_latency_for_each_runtime() -> None:
    assert cost_names(parse_budget("1KB"), RUNTIMES, FORMATS) == ("bytes:tflite", "bytes:onnx")
    assert cost_names(parse_budget("1ms"), RUNTIMES, FORMATS) == ("us:litert", "us:onnxruntime")
    assert cost_names(parse_budget("1MMAC"), RUNTIMES, FORMATS) == ("macs",)
    assert cost_names(parse_budget("1KB"), ("onnxruntime",), ("onnx",)) == ("bytes:onnx",)


def test_shares_are_of_each_files_own_dense_network() -> None:
    budgets = [parse_budget(t) for t in ("50%KB", "25%ms", "10%MAC", "20%params")]
    assert limits(budgets, DENSE, RUNTIMES, FORMATS) == pytest.approx(
        {"bytes:tflite": 5_000, "bytes:onnx": 4_000, "us:litert": 500, "us:onnxruntime": 1_000, "macs": 5e5, "params": 1_800}
    )


@given(
    st.lists(
        st.sampled_from(["1ms", "3ms", "50%ms", "90%ms", "5KB", "5KiB", "70%KB", "1MB", "2MMAC", "30%MAC", "8kparams", "50%params"]),
        min_size=1,
    )
)
def test_of_several_budgets_on_one_cost_the_tightest_holds(texts: list[str]) -> None:
    every = [limits([parse_budget(t)], DENSE, RUNTIMES, FORMATS) for t in texts]
    together = limits([parse_budget(t) for t in texts], DENSE, RUNTIMES, FORMATS)
    assert together == {k: min(e[k] for e in every if k in e) for e in every for k in e}
