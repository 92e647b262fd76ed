"""What a report tells of number formats: each file's account, the forms tried, what integers cost, training on the grid."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from edgelr.report.checks import check_finite, refuse
from edgelr.report.latency import Latency
from edgelr.vocabulary import How, Numbers


class AccountedOperator(Protocol):
    """One operator of a file (``export.account.OpRow``)."""

    @property
    def type(self) -> str: ...
    @property
    def numbers(self) -> Numbers: ...
    @property
    def by(self) -> Literal["", "choice", "necessity"]: ...
    @property
    def why(self) -> str: ...


@dataclass(frozen=True)
class OpGroup:
    """``count`` operators of one type that compute alike for the same reason. ``by`` is "" where they compute on integers."""

    type: str
    numbers: Numbers
    by: Literal["", "choice", "necessity"]
    why: str
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise refuse(f"{self.count} operators of type {self.type}", "A group has at least one.")
        if (self.numbers == "int8") != (self.by == "") or (self.by and not self.why):
            raise refuse(f"a {self.type} in {self.numbers} without a reason", "What is not int8 is so by choice or of necessity, and why.")

    @classmethod
    def of(cls, rows: Iterable[AccountedOperator]) -> tuple[OpGroup, ...]:
        """Operators one by one, as groups in the order of their first."""
        return tuple(cls(*key, count) for key, count in Counter((r.type, r.numbers, r.by, r.why) for r in rows).items())


def account_of(groups: Iterable[OpGroup]) -> tuple[int, int, int]:
    """How many operators compute in int8, dynamic and float."""
    total: Counter[str] = Counter()
    for group in groups:
        total[group.numbers] += group.count
    return total["int8"], total["dynamic"], total["float"]


@dataclass(frozen=True)
class Form:
    """One way to write a file that was tried: ``name`` is "int8", "mixed", "dynamic", "float", or a recurrent layer's form.

    ``why`` says why it was chosen or not. ``how`` labels ``sqnr_db``; ``latency`` has its own label. ``exact``: no noise at all, and
    ``sqnr_db`` is None, since JSON has no infinity.
    """

    format: str
    name: str
    chosen: bool
    why: str
    bytes: int
    sqnr_db: float | None = None
    latency: Latency | None = None
    how: How = "simulated"
    exact: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "exact", self.exact or self.sqnr_db == math.inf)
        object.__setattr__(self, "sqnr_db", _finite(self.sqnr_db))
        check_finite(self.sqnr_db, "an SQNR in dB", low=-math.inf)
        check_finite(self.bytes, "the bytes of a form")


@dataclass(frozen=True)
class Sensitivity:
    """What one operation's own step to integers costs: the SQNR of the network's output over ``n`` samples, all else in float.

    ``sqnr_db`` is None where it costs nothing. ``kept``: it is in float. ``flag`` keeps it there ("--keep-float 'blocks.3.conv'").
    """

    name: str
    kind: str
    sqnr_db: float | None
    n: int
    kept: bool
    flag: str
    how: How = "simulated"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sqnr_db", _finite(self.sqnr_db))
        check_finite(self.sqnr_db, f"the SQNR of {self.name} in dB", low=-math.inf)


@dataclass(frozen=True)
class Reverted:
    """An operation that --max-drop put back in float. Drops are in points of the score ``on`` what is named."""

    name: str
    drop_before: float
    drop_after: float
    on: str
    how: How = "simulated"

    def __post_init__(self) -> None:
        check_finite(self.drop_before, f"the drop before {self.name}", low=-math.inf)
        check_finite(self.drop_after, f"the drop after {self.name}", low=-math.inf)


@dataclass(frozen=True)
class Training:
    """How the network was trained on its grid; losses are those first and last told of its progress."""

    method: Literal["qat"]
    epochs: int
    samples: int
    seconds: float
    loss_first: float
    loss_last: float

    def __post_init__(self) -> None:
        check_finite(self.seconds, "the seconds of training")
        for name in ("loss_first", "loss_last"):
            check_finite(getattr(self, name), f"the training's {name}", low=-math.inf)


def _finite(sqnr_db: float | None) -> float | None:
    """JSON has no infinity: no noise at all is told as None."""
    return None if sqnr_db == math.inf else sqnr_db
