"""Promises of the rank search on random tables."""
import itertools
import math
import random
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgelr.errors import BudgetError
from edgelr.ranks import (
    FunctionScorer,
    Table,
    additive,
    beam,
    energy,
    error_of,
    least,
    meets,
    prune,
    rank_candidates,
    total,
    uniform,
)
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan, Scheme

KINDS = ("params", "us:litert")


def random_table(rng: random.Random, layers: int, ranks: int, schemes: tuple[Scheme, ...] = ("channel",), smooth: bool = True) -> Table:
    """Layers of random shape. ``smooth``: error falls with rank as a spectrum's tail; otherwise it is arbitrary."""
    table = {}
    for i in range(layers):
        m, patch, pixels = rng.choice([8, 16, 32, 64]), rng.choice([1, 3, 9]), rng.choice([1, 4, 16, 64])
        n = m * patch
        dense_us = m * n * pixels * rng.uniform(0.5, 1.5) / 1000
        sensitivity, decay = 10 ** rng.uniform(-4, 1), rng.uniform(0.3, 0.98)
        candidates = [Candidate(DENSE, {"params": m * n, "us:litert": dense_us}, 0.0)]
        for scheme in schemes:
            for r in rank_candidates(m, 1, m * n // (m + n), ranks):
                share = r * (m + n) / (m * n)
                tail = sensitivity * rng.uniform(0.9, 1.0) ** len(schemes) * math.fsum(decay ** (2 * j) for j in range(r, m + 1))
                us = dense_us * (share * rng.uniform(0.8, 1.2) + 0.2)
                error = tail if smooth else sensitivity * rng.random()
                candidates.append(Candidate(Choice(scheme, r), {"params": r * (m + n), "us:litert": us}, error))
        table[f"layer{i}"] = tuple(candidates)
    return table


def random_limits(rng: random.Random, table: Table, kinds: tuple[str, ...], low: float = 0.05) -> dict[str, float]:
    floor, full = least(table, dict.fromkeys(kinds, 0.0), {}), total(Plan(), table, {})
    return {k: floor[k] + (full[k] - floor[k]) * rng.uniform(low, 0.9) for k in kinds}


def by_error(table: Table) -> FunctionScorer:
    return FunctionScorer(lambda plan: -error_of(plan, table))


def exhaustive(table: Table, limits: dict[str, float]) -> float:
    """Least error of all plans within the limits, infinite if there is none."""
    fits = (
        cs for cs in itertools.product(*table.values()) if all(math.fsum(c.costs[k] for c in cs) <= limits[k] for k in limits)
    )
    return min((math.fsum(c.error for c in cs) for cs in fits), default=math.inf)


def greedy(table: Table, limits: dict[str, float]) -> Plan | None:
    """The textbook way: the move with the least error added per cost saved, until the limits are met."""
    full = total(Plan(), table, {})
    plan = Plan(dict.fromkeys(table, DENSE))
    while not meets(plan, table, limits, {}):
        now = total(plan, table, {})
        options = []
        for name, candidates in table.items():
            here = next(c for c in candidates if c.choice == plan[name])
            for c in candidates:
                saved = math.fsum(
                    (max(0.0, now[k] - limits[k]) - max(0.0, now[k] - here.costs[k] + c.costs[k] - limits[k])) / full[k] for k in limits
                )
                if saved > 1e-12:
                    options.append(((c.error - here.error) / saved, name, c.choice))
        if not options:
            return None
        _, name, choice = min(options)
        plan = plan.replace(name, choice)
    return plan


def test_beam_beats_greedy_and_is_within_two_percent_of_exact() -> None:
    """Without seeds. With two limits greedy depends on how they are weighed and may be lucky: once in a hundred at most."""
    near, lost = 0, {1: 0, 2: 0}
    for seed in range(200):
        rng = random.Random(seed)
        schemes: tuple[Scheme, ...] = ("channel", "spatial") if seed % 3 == 0 else ("channel",)
        table = random_table(rng, rng.randint(2, 8), 8 // len(schemes), schemes, smooth=seed % 4 != 0)
        limits = random_limits(rng, table, KINDS if seed % 2 else KINDS[:1])
        exact = additive(table, limits, {})
        result = beam(table, limits, {}, by_error(table))
        assert meets(result.plan, table, limits, {})
        assert -result.score >= exact.bound * (1 - 1e-9)
        simple = greedy(table, limits)
        lost[len(limits)] += simple is not None and -result.score > error_of(simple, table) * (1 + 1e-12)
        near += -result.score <= 1.02 * exact.error
    assert near >= 190, f"within 2 % in {near} of 200"
    assert lost[1] == 0 and lost[2] <= 1, f"worse than greedy: {lost}"


def test_joint_scores_mend_what_additive_errors_get_wrong() -> None:
    """The table's errors are off by up to ten times either way; the score knows the truth, whose optimum is known exactly."""
    near = 0
    for seed in range(40):
        rng = random.Random(seed)
        table = random_table(rng, 10, 8)
        limits = random_limits(rng, table, KINDS[:1])
        truth = {n: tuple(replace(c, error=c.error * f) for c in cs) for n, cs in table.items() for f in [10 ** rng.uniform(-1, 1)]}
        result = beam(table, limits, {}, by_error(truth))
        near += -result.score <= 1.05 * additive(truth, limits, {}).error
    assert near >= 38


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9), st.booleans(), st.booleans())
def test_additive_equals_brute_force(seed: int, two_limits: bool, smooth: bool) -> None:
    rng = random.Random(seed)
    table = random_table(rng, rng.randint(1, 4), 5, smooth=smooth)
    limits = random_limits(rng, table, KINDS if two_limits else KINDS[:1], low=-0.05)
    best = exhaustive(table, limits)
    try:
        result = additive(table, limits, {})
    except BudgetError as refused:
        assert best == math.inf
        assert refused.least == {k: min(math.fsum(c.costs[k] for c in cs) for cs in itertools.product(*table.values())) for k in limits}
        return
    assert meets(result.plan, table, limits, {})
    assert result.error == error_of(result.plan, table)
    assert math.isclose(result.error, best, rel_tol=1e-9)
    assert result.bound <= best * (1 + 1e-9) and result.gap <= 1e-6


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9))
@example(656)  # the solver's absolute slack alone would cost 20 % here
def test_additive_is_exact_where_costs_conflict_and_errors_span_eighteen_decades(seed: int) -> None:
    rng = random.Random(seed)
    table = {}
    for i in range(rng.randint(2, 5)):
        rows = [
            Candidate(Choice("channel", r), {"params": rng.uniform(20, 120), "us": rng.uniform(20, 120)}, 10 ** rng.uniform(-9, 9))
            for r in range(1, 6)
        ]
        table[f"layer{i}"] = (Candidate(DENSE, {"params": 100.0, "us": 100.0}, 0.0), *rows)
    limits = random_limits(rng, table, ("params", "us"), low=0.0)
    best = exhaustive(table, limits)
    try:
        assert math.isclose(additive(table, limits, {}).error, best, rel_tol=1e-7)
    except BudgetError:
        assert best == math.inf


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.booleans())
def test_pruning_never_removes_the_optimum(seed: int, smooth: bool) -> None:
    rng = random.Random(seed)
    table = random_table(rng, rng.randint(1, 3), 4, ("channel", "spatial"), smooth)
    limits = random_limits(rng, table, KINDS)
    assert exhaustive(prune(table, limits), limits) == exhaustive(table, limits)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 2))
def test_no_method_ever_breaks_a_limit(seed: int, kinds: int) -> None:
    rng = random.Random(seed)
    table = random_table(rng, rng.randint(1, 8), 6, ("channel", "spatial"), smooth=rng.random() < 0.5)
    base = {"params": 50.0}
    noise = FunctionScorer(lambda plan: random.Random(f"{seed} {sorted(plan.choices.items())}").random())
    for repeat in range(4):
        limits = {k: v + base.get(k, 0.0) for k, v in random_limits(rng, table, KINDS[:kinds], low=0.0).items()}
        methods = [uniform, energy, lambda *a: additive(*a).plan]
        for method in [*methods, lambda *a: beam(*a, noise, max_evaluations=40).plan][: 4 - bool(repeat)]:
            try:
                plan = method(table, limits, base)
            except BudgetError:
                continue
            assert all(v <= limits[k] for k, v in total(plan, table, base).items() if k in limits)
            assert set(plan.choices) == set(table)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9))
def test_uniform_and_energy_never_lose_from_a_larger_budget(seed: int) -> None:
    rng = random.Random(seed)
    table = random_table(rng, rng.randint(1, 6), 6)
    floor, full = least(table, {"params": 0.0}, {})["params"], total(Plan(), table, {})["params"]
    budgets = sorted(floor + (full - floor) * rng.random() for _ in range(8))
    for method in (uniform, lambda *a: additive(*a).plan):
        errors = [error_of(method(table, {"params": b}, {}), table) for b in budgets]
        assert all(more <= less * (1 + 1e-9) for less, more in itertools.pairwise(errors))
    plans = [energy(table, {"params": b}, {}) for b in budgets]
    worst = [max(c.error for n, cs in table.items() for c in cs if c.choice == plan[n]) for plan in plans]
    assert worst == sorted(worst, reverse=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_a_beam_as_wide_as_the_space_equals_exhaustive_search(seed: int) -> None:
    """Under any joint score that falls as layers lose rank, additive or not."""
    rng = random.Random(seed)
    table = prune(random_table(rng, rng.randint(2, 3), 5), {"params": 0.0})
    limits = random_limits(rng, table, ("params",))
    weight = [rng.random() for _ in range(4)]

    def score(plan: Plan) -> float:
        errors = [next(c.error for c in cs if c.choice == plan[n]) for n, cs in sorted(table.items())]
        return -(sum(w * e for w, e in zip(weight, errors, strict=False)) + weight[3] * math.prod(e + 0.1 for e in errors))

    plans = (Plan(dict(zip(table, (c.choice for c in cs), strict=True))) for cs in itertools.product(*table.values()))
    best = max(score(p) for p in plans if meets(p, table, limits, {}))
    wide = beam(table, limits, {}, FunctionScorer(score), width=10**6, moves=10**6, levels=10**6, patience=10**6, max_evaluations=10**7)
    assert math.isclose(wide.score, best, rel_tol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.randoms(use_true_random=False))
def test_results_do_not_depend_on_the_order_of_the_table(seed: int, shuffle: random.Random) -> None:
    rng = random.Random(seed)
    table = random_table(rng, rng.randint(2, 4), 5, ("channel", "spatial"))
    table |= {f"{n} twin": cs for n, cs in table.items()}
    limits = random_limits(rng, table, KINDS)
    layers = list(table)
    shuffle.shuffle(layers)
    other = {n: tuple(shuffle.sample(table[n], len(table[n]))) for n in layers}
    turned = dict(reversed(limits.items()))

    def coarse(plan: Plan) -> float:  # many ties, as accuracy on few samples has
        return -round(math.log(error_of(plan, table) + 1e-9))

    scorer = FunctionScorer(coarse)
    for method in (uniform, energy, additive, lambda *a: beam(*a, scorer, max_evaluations=200)):
        try:
            first = method(table, limits, {})
        except BudgetError:
            continue
        assert first == method(table, limits, {}) == method(other, turned, {})
