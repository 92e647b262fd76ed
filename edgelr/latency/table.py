"""A latency table: what each operation costs on one core, in one version of one runtime, on so many threads."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgelr.latency.operation import Operation
from edgelr.vocabulary import How

# 2: a loop is one row with all that turns in it. 3: far_us_per_kb counts from where an operation's weights are alone; 4: in four steps;
# 5: matrix-vector products have their own
SCHEMA = 5


@dataclass(frozen=True)
class Head:
    """What all rows of a table have in common.

    ``how`` is "measured" or "simulated", never both in one table. ``on`` says on what, in words: the board as it described itself, or
    the emulator and what its cycles were fitted to. ``core`` is the CPU's part ("cortex-a72", or the name /proc/cpuinfo gives).
    ``version`` is the runtime's. ``made`` is a date (ISO 8601), ``conditions`` are governor, clock and temperature where they were
    read. ``band`` is the error to expect of a whole network, as a share (0.15: within 15 %), ``ratio_band`` that of the ratio of two
    networks' latencies (0 where that isn't known), and ``band_from`` says where these are known from.
    ``call_us`` is what one call of a network costs beyond its operations. ``steps``: the kernels' step in output channels, by numbers.
    """

    target: str
    runtime: str
    version: str
    core: str
    threads: int
    how: How
    on: str
    made: str
    band: float
    band_from: str
    call_us: float = 0.0
    clock_ghz: float = 0.0
    ratio_band: float = 0.0
    steps: Mapping[str, int] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One operation's cost inside a network, in microseconds: the median, the half width of its 95 % interval as a share, of ``n`` calls.

    A simulated row has ``half_width`` 0 and ``n`` 1: it is deterministic, and its error is the table's band. ``pace_us`` is the device's
    pace meanwhile (``latency/pace.py``), 0 where it isn't known. A table's rows are all told at one pace, which its head has.
    """

    operation: Operation
    us: float
    half_width: float = 0.0
    n: int = 1
    pace_us: float = 0.0


@dataclass(frozen=True)
class Table:
    """Rows by operation. Two rows of one operation can't be. ``edited``: somebody changed the file by hand, and said so in it."""

    head: Head
    rows: Mapping[Operation, Row]
    edited: bool = False
