"""The C step: optimal for its price, exact for a budget, and the closed form equal to trying every rank."""
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelr.errors import BudgetError
from edgelr.ranks import Table, additive, c_step, c_step_at, error_of, meets, threshold_rank, total
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan


def spectrum_of(rng: np.random.Generator, full: int) -> np.ndarray:
    return np.sort(rng.exponential(size=full) * np.exp(-np.arange(full) * rng.uniform(0, 0.5)))[::-1]


def layer_of(rng: np.random.Generator, full: int) -> tuple[Candidate, ...]:
    """All ranks of a random full x n matrix, with MACs, and bytes that aren't linear in rank."""
    energy = spectrum_of(rng, full) ** 2
    n, outputs = int(rng.integers(full, 4 * full)), int(rng.choice([1, 4, 16]))
    tails = [float(energy[r:].sum() / energy.sum()) for r in range(full)]
    low = (
        Candidate(Choice("channel", r), {"macs": r * (full + n) * outputs, "bytes": r * (full + n) + 16 * (r % 3)}, tails[r])
        for r in range(1, full)
    )
    return (Candidate(DENSE, {"macs": full * n * outputs, "bytes": full * n}, 0.0), *low)


def table_of(rng: np.random.Generator, layers: int, full: int) -> Table:
    return {f"l{i}": layer_of(rng, int(rng.integers(2, full + 1))) for i in range(layers)}


def dense_cost(table: Table, kind: str) -> float:
    return total(Plan(dict.fromkeys(table, DENSE)), table, {})[kind]


def plans(table: Table) -> list[Plan]:
    each = [[c.choice for c in candidates] for candidates in table.values()]
    return [Plan(dict(zip(table, choices, strict=True))) for choices in itertools.product(*each)]


def brute_force(spectrum: np.ndarray, rank_cost: float, dense: float, alpha: float, mu: float, norm: float, least: int) -> int:
    """Every rank tried, the cost capped at dense; of equals the cheaper."""
    energy, full = spectrum**2 / norm, len(spectrum)
    costs = [r * rank_cost if r < full and r * rank_cost < dense else dense for r in range(full + 1)]
    tails = [float(energy[r:].sum()) if costs[r] < dense else 0.0 for r in range(full + 1)]
    best = min(range(least, full + 1), key=lambda r: (alpha * costs[r] + mu / 2 * tails[r], costs[r]))
    return full if costs[best] == dense else best


def test_the_closed_form_is_what_trying_every_rank_finds_on_1000_random_layers() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        full = int(rng.integers(2, 40))
        n = int(rng.integers(full, 4 * full))
        spectrum, mu, norm = spectrum_of(rng, full), 10 ** rng.uniform(-3, 1), float(rng.choice([1.0, 7.0]))
        alpha = mu / 2 * float(rng.choice(spectrum)) ** 2 / norm / (full + n) * rng.uniform(0.5, 1.5)
        least = int(rng.integers(0, 2))
        rank = threshold_rank(spectrum.tolist(), full + n, full * n, alpha, mu, norm=norm, least=least)
        assert rank == brute_force(spectrum, full + n, full * n, alpha, mu, norm, least)
        found.append(rank / full)
    assert 0.1 < np.mean(np.array(found) == 1) < 0.9 and len(set(found)) > 50  # both dense and low rank were asked for


def test_the_closed_form_is_the_step_on_a_table_of_all_ranks() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        full, n = 12, 30
        spectrum = spectrum_of(rng, full)
        mu, alpha = 0.5, 0.3 * float(rng.choice(spectrum)) ** 2 / (full + n)
        ranks = (
            Candidate(Choice("channel", r), {"macs": r * (full + n)}, float((spectrum[r:] ** 2).sum())) for r in range(1, full)
        )
        table = {"a": (Candidate(DENSE, {"macs": full * n}, 0.0), *ranks)}
        choice = c_step_at(table, {"macs": 2 * alpha / mu})["a"]
        assert (choice.rank or full) == threshold_rank(spectrum.tolist(), full + n, full * n, alpha, mu)


@given(st.integers(0, 10_000), st.floats(0, 3), st.floats(0, 3))
def test_a_higher_price_never_raises_a_rank_and_a_higher_penalty_never_lowers_one(seed: int, one: float, other: float) -> None:
    spectrum = spectrum_of(np.random.default_rng(seed), 16).tolist()
    low, high = sorted((one, other))
    assert threshold_rank(spectrum, 4, 40, high, 8) <= threshold_rank(spectrum, 4, 40, low, 8)
    assert threshold_rank(spectrum, 4, 40, 0.5, low) <= threshold_rank(spectrum, 4, 40, 0.5, high)


def test_the_ends_of_the_price_are_full_rank_and_no_rank() -> None:
    assert threshold_rank([3, 2, 1], 1, 10, 0.0, 1.0) == 3
    assert threshold_rank([3, 2, 1], 1, 10, 1.0, 0.0) == 1 and threshold_rank([3, 2, 1], 1, 10, 1.0, 0.0, least=0) == 0


def test_no_rank_from_break_even_up_to_full_is_ever_chosen() -> None:
    rng = np.random.default_rng(2)
    chosen = {threshold_rank(spectrum_of(rng, 20).tolist(), 50, 601, 10 ** rng.uniform(-4, 0), 1.0) for _ in range(2000)}
    assert 20 in chosen and 8 < max(chosen - {20}) <= 12  # 12 * 50 < 601 < 13 * 50
    steps = [threshold_rank([1.0] * r + [1e-6] * (20 - r), 50, 601, 1e-3, 1.0) for r in (11, 12, 13)]
    assert steps == [11, 12, 20]
    assert threshold_rank([1.0] * 13 + [0.0] * 7, 50, 601, 0.0, 1.0) == 20  # even where it would lose nothing and cost is free


def test_a_singular_value_exactly_at_the_threshold_is_left_out() -> None:
    assert threshold_rank([4, 2, 2, 1], 1, 100, 2.0, 1.0) == 1  # 2^2 = 2 * 2 * 1 / 1


def test_a_planted_rank_is_found_over_a_range_of_prices() -> None:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 30)) + 1e-3 * rng.normal(size=(20, 30))
    spectrum = np.linalg.svd(matrix, compute_uv=False)
    assert {threshold_rank(spectrum.tolist(), 50, 600, alpha, 1.0) for alpha in (1e-4, 1e-3, 1e-2, 1e-1)} == {2}


def test_under_macs_the_layer_with_the_larger_map_gets_the_lower_rank() -> None:
    spectrum = [0.7**i for i in range(16)]
    ranks = [threshold_rank(spectrum, 32 * outputs, 16 * 16 * outputs, 1e-3, 1.0) for outputs in (1, 4)]
    assert 0 < ranks[1] < ranks[0] < 16


def test_what_it_weighs_is_the_error_of_the_best_matrix_of_that_rank() -> None:
    matrix = np.random.default_rng(4).normal(size=(6, 9))
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    for alpha in (1e-3, 1e-2, 3e-2):
        rank = threshold_rank(s.tolist(), 15, 54, alpha, 1.0)
        if rank < 6:
            left = float(((matrix - u[:, :rank] * s[:rank] @ v[:rank]) ** 2).sum())
            others = [alpha * 15 * r + 0.5 * float((s[r:] ** 2).sum()) for r in (1, 2, 3)]
            assert alpha * 15 * rank + 0.5 * left == pytest.approx(min(others))


def test_no_plan_that_costs_no_more_has_less_error_than_the_step_at_a_price() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        table = table_of(rng, 3, 8)
        plan = c_step_at(table, {"macs": 10 ** rng.uniform(-4, -1)})
        spent = total(plan, table, {})["macs"]
        assert error_of(plan, table) <= min(error_of(p, table) for p in plans(table) if total(p, table, {})["macs"] <= spent) + 1e-12


@pytest.mark.parametrize("share", [0.8, 0.5, 0.3])
def test_a_budget_is_used_up_to_less_than_one_candidate(share: float) -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        table = table_of(rng, 6, 16)
        limits = {"macs": share * dense_cost(table, "macs")}
        plan = c_step(table, limits, {})
        assert meets(plan, table, limits, {})
        raised = [plan.replace(n, c.choice) for n, cs in table.items() for c in cs]
        assert not [p for p in raised if meets(p, table, limits, {}) and error_of(p, table) < error_of(plan, table)]


def test_a_budget_costs_at_most_the_error_of_one_step_more_than_the_optimum() -> None:
    rng, ratios = np.random.default_rng(7), []
    for _ in range(15):
        table = table_of(rng, 12, 24)
        limits = {"macs": 0.5 * dense_cost(table, "macs")}
        best, found = additive(table, limits, {}), error_of(c_step(table, limits, {}), table)
        assert best.error - 1e-12 <= found
        ratios.append(found / best.error)
    assert np.median(ratios) < 1.03 and max(ratios) < 1.15


@pytest.mark.parametrize(("macs", "size"), [(0.5, 0.45), (0.45, 0.8)])
def test_two_budgets_hold_together_and_little_is_lost_to_the_optimum(macs: float, size: float) -> None:
    """Also where one of them hardly binds: a fixed proportion of their prices loses 7 and 9 % here."""
    rng, ratios = np.random.default_rng(8), []
    for _ in range(10):
        table = table_of(rng, 16, 24)
        base = {kind: 2 * dense_cost(table, kind) for kind in ("macs", "bytes")}
        limits = {"macs": base["macs"] + macs * dense_cost(table, "macs"), "bytes": base["bytes"] + size * dense_cost(table, "bytes")}
        plan = c_step(table, limits, base)
        assert meets(plan, table, limits, base)
        ratios.append(error_of(plan, table) / additive(table, limits, base).error)
    assert np.median(ratios) < 1.02 and max(ratios) < 1.15


def test_what_lies_outside_the_table_counts() -> None:
    table = table_of(np.random.default_rng(9), 4, 12)
    limits = {"macs": 0.8 * dense_cost(table, "macs")}
    outside = 0.3 * dense_cost(table, "macs")
    assert meets(c_step(table, limits, {"macs": outside}), table, limits, {"macs": outside})
    assert c_step(table, limits, {"macs": outside}) == c_step(table, {"macs": limits["macs"] - outside}, {})


def test_a_budget_that_the_dense_network_meets_leaves_it_dense() -> None:
    table = table_of(np.random.default_rng(10), 4, 12)
    assert not c_step(table, {"macs": dense_cost(table, "macs")}, {}).factorised()


def test_the_order_of_layers_and_candidates_doesnt_matter() -> None:
    table = table_of(np.random.default_rng(11), 5, 12)
    limits = {"macs": 0.4 * dense_cost(table, "macs")}
    other = {n: tuple(reversed(table[n])) for n in reversed(list(table))}
    assert c_step(table, limits, {}) == c_step(other, limits, {})


def test_a_budget_below_the_least_is_refused_with_the_least() -> None:
    table = table_of(np.random.default_rng(12), 3, 8)
    least = math.fsum(min(c.costs["macs"] for c in cs) for cs in table.values())
    with pytest.raises(BudgetError) as caught:
        c_step(table, {"macs": least - 1}, {})
    assert caught.value.least == {"macs": least}
    assert total(c_step(table, {"macs": least}, {}), table, {})["macs"] == least
