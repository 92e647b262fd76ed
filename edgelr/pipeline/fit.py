"""Choose, write, measure, correct, and choose again, until what was predicted is what is measured and every budget holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgelr.devices import Measurement
from edgelr.errors import BudgetError, GateError
from edgelr.latency import FORMATS as FORMAT_OF
from edgelr.latency import Machine, Prices, pair
from edgelr.pipeline.candidates import Factors, table
from edgelr.pipeline.files import draft, planned
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.search import Searcher, reachable
from edgelr.pipeline.source import Source
from edgelr.ranks import Search, Table, total
from edgelr.vocabulary import Choice, Format, How, Layer, Plan

ROUNDS = 6
CLOSE = 0.05  # prediction and measurement agree
MARGIN = 0.98  # plan for a little less than a latency limit: medians of one file differ by 1 to 5 % between sessions
SLOWER = 1.02  # a plan this much slower than dense int8 is slower beyond noise


@dataclass(frozen=True)
class Round:
    """One round's prediction and measurement, in ms, by runtime. Without a device ``measured_ms`` are the written files' table prices."""

    predicted_ms: Mapping[str, float]
    measured_ms: Mapping[str, float]


@dataclass(frozen=True)
class Fitted:
    """The plan, how it was found, the rounds it took, the prices it rests on, and the costs of its drafts."""

    plan: Plan
    search: Search
    rounds: tuple[Round, ...]
    prices: Mapping[str, Prices]
    evaluations: int


@dataclass
class Fitting:
    """What the rounds work on. ``limits`` are the budgets'; ``never_slower`` adds the dense network's own latency to them.

    ``shares`` are the latency limits given as shares of dense int8: these are judged by the ratio to the dense network measured
    side by side, since a machine's speed drifts. ``tightened`` is what earlier rounds taught to stay below a limit.
    """

    source: Source
    layers: Sequence[Layer]
    options: Mapping[str, tuple[Choice, ...]]
    factors: Factors
    searcher: Searcher
    limits: Mapping[str, float]
    base: Mapping[str, float]
    sizes: Mapping[tuple[str, Choice], Mapping[Format, int]]
    prices: dict[str, Prices]
    dense_files: Mapping[Format, bytes]
    machine: Machine
    never_slower: bool
    shares: Mapping[str, float]
    precision: Precision
    seed: int = 0
    tell: Callable[[str], None] = lambda text: None
    tightened: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.measured_prices = dict(self.prices)  # as measured, before rounds correct them

    def table(self) -> Table:
        def costs(name: str, choice: Choice) -> dict[str, float]:
            own = {f"bytes:{f}": float(n) for f, n in self.sizes[name, choice].items()}
            return own | {f"us:{r}": p.us[name, choice] for r, p in self.prices.items()}

        return table(self.layers, self.options, costs, self.searcher.error, self.factors.grouped.groups)

    def bases(self) -> dict[str, float]:
        return {**self.base, **{f"us:{r}": p.base_us for r, p in self.prices.items()}}

    def working_limits(self) -> dict[str, float]:
        """The limits to plan for: a margin under the latency budgets, corrections from earlier rounds, never slower than dense.

        The margin for noise is given up where no plan keeps it: what can't be met is then told in the user's own numbers. That for a
        table's error is never given up.
        """
        limits = self._limits(MARGIN)
        return limits if reachable(self.table(), limits, self.bases()) is None else self._limits(1.0)

    def _limits(self, margin: float) -> dict[str, float]:
        result = {k: v * (min(margin, 1 / (1 + self.band(k))) if k.startswith("us:") else 1) for k, v in self.limits.items()}
        if self.never_slower:
            for runtime, p in self.prices.items():
                dense_us = p.predicted_us(Plan(), self.options)
                result[f"us:{runtime}"] = min(dense_us, result.get(f"us:{runtime}", dense_us))
        return {k: v - self.tightened.get(k, 0.0) for k, v in result.items()}

    def fit(self) -> Fitted:
        """Up to ``ROUNDS`` rounds. Raises BudgetError with the least that can, GateError where only a slower plan could."""
        rounds: list[Round] = []
        kept: tuple[float, Plan, Search] | None = None
        evaluations = 0
        seeds: list[Plan] = []
        for number in range(ROUNDS):
            rows, base, limits = self.table(), self.bases(), self.working_limits()
            if kept is not None and reachable(rows, limits, base) is not None:
                break  # corrected prices leave no other plan: the one at hand holds as measured
            self.check(rows, limits, base)
            plan, search = self.searcher.find(rows, limits, base, seeds)
            evaluations += search.evaluations
            predicted = total(plan, rows, base)
            files = self.drafted(plan) if plan.factorised() else self.dense_files
            measured = self.measured(files)
            drift = {r: m["dense"].median * 1e3 / self.dense_us(r) for r, m in measured.items()}
            rounds.append(
                Round({r: predicted[f"us:{r}"] * drift[r] / 1e3 for r in self.prices}, {r: m["plan"].median for r, m in measured.items()})
            )
            over = self._over(plan, files, measured)
            apart = max(
                (abs(a / b - 1) for a, b in zip(rounds[-1].predicted_ms.values(), rounds[-1].measured_ms.values(), strict=True)), default=0
            )
            late = f", over {', '.join(over)}" if over else ""
            self.tell(f"round {number + 1}: {_summary(plan, files, rounds[-1], self.machine.how)}{late}")
            if not over:
                score = self.searcher.scorer.score(plan)
                if kept is None or score > kept[0]:
                    kept = (score, plan, search)
                timed = any(k.startswith("us:") for k in self.limits)  # never slower is a gate: it needs no close prediction
                if apart <= CLOSE or not timed or not plan.factorised() or plan in seeds:
                    break
            self._correct(plan, predicted, files, measured, over)
            seeds = [plan]
        if kept is None:
            raise self._failed(rounds)
        return Fitted(self.factors.grouped.expanded(kept[1]), kept[2], tuple(rounds), self.prices, evaluations)

    def over(self, plan: Plan) -> list[str]:
        """The limits that a plan found elsewhere is over, as written and measured. Prices and limits learn from what it is over."""
        predicted = total(plan, self.table(), self.bases())
        files = self.drafted(plan) if plan.factorised() else dict(self.dense_files)
        measured = self.measured(files)
        over = self._over(plan, files, measured)
        if over:
            self._correct(plan, predicted, files, measured, over)
        return over

    def drafted(self, plan: Plan) -> dict[Format, bytes]:
        grouped = any(name in self.factors.grouped.groups for name in self.options)
        return draft(planned(self.source.graph, plan, self.factors), list(self.dense_files), self.precision, apart=grouped)

    def band(self, key: str) -> float:
        """The error, as a share, that a plan's ``us:RUNTIME`` may have where it isn't measured; the ratio's where the limit is a share."""
        format = FORMAT_OF[key.removeprefix("us:")]
        return self.machine.ratio_band(format) if self.shares.get(key) else self.machine.band(format)

    def measured(self, files: Mapping[Format, bytes]) -> dict[str, Measurement]:
        """Dense and planned files against each other, interleaved, in each priced runtime."""
        return {
            r: pair(self.machine, self.dense_files[FORMAT_OF[r]], files[FORMAT_OF[r]], FORMAT_OF[r], seed=self.seed) for r in self.prices
        }

    def dense_us(self, runtime: str) -> float:
        """The dense network's latency when prices were made: what a share is a share of, and what drift is measured by."""
        return self.measured_prices[runtime].predicted_us(Plan(), self.options)

    def _plan_us(self, runtime: str, m: Measurement) -> float:
        """The plan's measured latency at the machine's speed of when prices were made."""
        return m.ratio("plan", "dense").median * self.dense_us(runtime)

    def _late(self, plan: Plan, measured: Mapping[str, Measurement]) -> list[str]:
        guarded = self.never_slower and bool(plan.factorised())  # the dense network is slower than itself by noise alone
        late = []
        for r, m in measured.items():
            key = f"us:{r}"
            share, ratio = self.shares.get(key), m["plan"].median / m["dense"].median
            margin = 1 + self.band(key)
            absolute = self.limits.get(key) if share is None or self.limits[key] < share * self.dense_us(r) * (1 - 1e-9) else None
            if (
                (share is not None and ratio * margin > share)
                or (absolute is not None and m["plan"].median * 1e3 * margin > absolute)
                or (guarded and m.ratio("plan", "dense").median > SLOWER)
            ):
                late.append(key)
        return late

    def _over(self, plan: Plan, files: Mapping[Format, bytes], measured: Mapping[str, Measurement]) -> list[str]:
        large = [f"bytes:{f}" for f, d in files.items() if len(d) > self.limits.get(f"bytes:{f}", float("inf"))]
        return large + self._late(plan, measured)

    def still_over(self, plan: Plan, measured: Mapping[str, Measurement]) -> bool:
        """Whether the final files are over a latency limit; if so, the next fit aims lower."""
        late = self._late(plan, {r: m for r, m in measured.items() if r in self.prices})
        for key in late:
            self.tightened[key] = self.tightened.get(key, 0.0) + 0.02 * self.dense_us(key.removeprefix("us:"))
        return bool(late)

    def _correct(
        self,
        plan: Plan,
        predicted: Mapping[str, float],
        files: Mapping[Format, bytes],
        measured: Mapping[str, Measurement],
        over: Sequence[str],
    ) -> None:
        """Prices take what was measured; file sizes, which add up but for alignment, lower their limit by what was left out."""
        for format, data in files.items():
            key = f"bytes:{format}"
            missing = len(data) - predicted[key]
            if key in self.limits and (missing > self.tightened.get(key, 0.0) or key in over):
                self.tightened[key] = max(missing, self.tightened.get(key, 0.0)) + (64 if key in over else 0)
        for runtime, m in measured.items():
            key, measured_us = f"us:{runtime}", self._plan_us(runtime, m)
            if key in over and measured_us / predicted[key] - 1 <= 0.005:  # the price was right and the plan too dear by noise
                self.tightened[key] = self.tightened.get(key, 0.0) + 0.01 * measured_us
            self.prices[runtime] = self.prices[runtime].corrected(plan, measured_us)

    def check(self, rows: Table, limits: Mapping[str, float], base: Mapping[str, float]) -> None:
        """Raises BudgetError with the least that can where no plan meets the limits, GateError where only a slower one does."""
        error = reachable(rows, limits, base)
        if error is None:
            return
        asked = {k: v for k, v in limits.items() if k in self.limits}
        if self.never_slower and reachable(rows, asked, base) is None:
            raise GateError(
                "no plan meets the budget and is as fast as dense int8",
                "on this target's kernels two small layers cost more time than the one they replace; " + str(error.what),
                "loosen the budget, or add --allow-slower to take the smaller but slower network",
            )
        wide = {k.removeprefix("us:"): self.band(k) for k in limits if k.startswith("us:") and k in self.limits and self.band(k)}
        if wide:
            told = ", ".join(f"{self.limits[f'us:{r}'] / 1e3:.4g} ms within {band:.0%} in {r}" for r, band in wide.items())
            raise BudgetError(
                error.what,
                f"latencies are {self.machine.how}, right within their table's error only, so what is asked is planned with that margin: "
                f"{told}; {error.why}",
                "attach the device (--target NAME@ssh://…) to measure instead, correct the table with a few measurements "
                "(edgelr table calibrate), or loosen the budget",
                error.least,
            )
        raise error

    def _failed(self, rounds: Sequence[Round]) -> BudgetError:
        least = {f"us:{r}": min(x.measured_ms[r] for x in rounds) * 1e3 for r in self.prices}
        told = ", ".join(f"{r} {least[f'us:{r}'] / 1e3:.3f} ms" for r in self.prices)
        return BudgetError(
            f"the budget was not met as measured in {len(rounds)} rounds",
            f"the least measured: {told}",
            "give a little more, or allow another scheme",
            least,
        )


def _summary(plan: Plan, files: Mapping[Format, bytes], last: Round, how: How) -> str:
    sizes = ", ".join(f".{f} {len(d) / 1e3:.0f} KB" for f, d in files.items())
    times = ", ".join(f"{r} {last.predicted_ms[r]:.3f} ms predicted, {last.measured_ms[r]:.3f} {how}" for r in last.measured_ms)
    return f"{len(plan.factorised())} layers factorised, {sizes}{', ' if times else ''}{times}"
