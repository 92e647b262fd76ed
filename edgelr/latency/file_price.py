"""What a written file costs by a table: its operations as often as they run, and one call."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgelr.latency.cut import cut_operators
from edgelr.latency.far import Far, network_bytes
from edgelr.latency.op_times import OpTimes
from edgelr.latency.pricer import Pricer
from edgelr.latency.reorders import blocked
from edgelr.vocabulary import Format

# From the best known to the least: an operation of several parts is known as well as its worst.
_BASES = ("row", "between", "beyond", "unlike")
_NOTHING = ("zeros_like", "fill", "constantofshape", "shape")  # a few numbers, once in a call: as work on places, less than a row's error


@dataclass(frozen=True)
class FilePrice:
    """``times`` are predicted; ``basis`` says for each operation how its price came from the rows (``Price.basis``)."""

    times: OpTimes
    basis: Mapping[str, str]


def file_price(data: bytes, format: Format, pricer: Pricer) -> FilePrice:
    """The price of a file inside of which every operation costs what the table says, by name; work on places costs nothing.

    Raises what ``cut_operators`` raises.
    """
    cuts = list(cut_operators(data, format, blocked=blocked(pricer.table)))
    far, size = Far.of(pricer.table.head.conditions), network_bytes(c.operation for c in cuts)
    us: dict[str, float] = {}
    basis: dict[str, str] = {}
    for cut in cuts:
        if cut.operation.detail == "index" or cut.operation.op in _NOTHING:
            us.setdefault(cut.name, 0.0)
            continue
        price = pricer.price(cut.operation)
        us[cut.name] = us.get(cut.name, 0.0) + price.us + far.us(cut.operation, price.us, size)
        basis[cut.name] = max(basis.get(cut.name, price.basis), price.basis, key=_BASES.index)
    head = pricer.table.head
    return FilePrice(OpTimes(head.runtime, head.threads, us, head.call_us, sum(us.values()) + head.call_us), basis)
