"""Bounds on a float convolution's output: what they cost is told by rows with and without them, and holds for others."""
from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from latency_sample import HEAD, conv, us

from edgelr.latency.clamps import clamp_us, clamped, clamps
from edgelr.latency.grid import grid
from edgelr.latency.operation import Operation
from edgelr.latency.pricer import Pricer
from edgelr.latency.samples import sample
from edgelr.latency.table import Row, Table
from edgelr.latency.wanted import general_operations
from edgelr.vocabulary import Format, Numbers

EACH = 1e-4  # us for each number


def dear(operation: Operation) -> float:
    return us(operation) + (EACH * prod(operation.output) if clamped(operation) else 0.0)


def priced(operations: list[Operation]) -> Pricer:
    return Pricer(Table(HEAD, {o: Row(o, dear(o), 0.01, 50) for o in operations}))


PLAIN = [conv(side, c_in, c_out, numbers="float") for side in (4, 8, 16, 32) for c_in in (8, 32, 128) for c_out in (8, 16, 32, 64)]
ASKED = conv(12, 48, 24, numbers="float")


def test_bounds_cost_what_rows_with_and_without_them_are_apart() -> None:
    pricer = priced([*PLAIN, replace(PLAIN[20], activation="relu6"), replace(PLAIN[33], activation="relu6")])
    assert clamp_us(pricer.table.rows) == pytest.approx(EACH)
    free, bounded = (pricer.price(replace(ASKED, activation=a)) for a in ("none", "relu6"))
    assert bounded.us - free.us == pytest.approx(EACH * prod(ASKED.output)) and bounded.basis == free.basis == "between"
    assert pricer.price(replace(ASKED, activation="relu")) == free
    assert free.us == pytest.approx(priced(PLAIN).price(ASKED).us)  # the surface is of operations without bounds
    assert pricer.price(replace(PLAIN[20], activation="relu6")).us == pytest.approx(dear(replace(PLAIN[20], activation="relu6")))


def test_a_network_s_own_rows_with_bounds_price_its_layers_without_them() -> None:
    bounded = [replace(o, activation="relu6") for o in PLAIN]
    assert priced([*bounded, PLAIN[20]]).price(ASKED).us == pytest.approx(priced(PLAIN).price(ASKED).us, rel=1e-6)


@pytest.mark.parametrize("other", [[], [replace(PLAIN[3], activation="relu6")]])
def test_without_such_a_pair_bounds_are_free(other: list[Operation]) -> None:
    plain = [o for o in PLAIN if o != PLAIN[3]]
    pricer = priced([*plain, *other])
    assert clamp_us(pricer.table.rows) == 0
    assert pricer.price(replace(ASKED, activation="relu6")) == pricer.price(ASKED)


def test_integers_are_bounded_for_free() -> None:
    assert not clamped(replace(conv(8, 16, 16), activation="relu6"))


def test_the_operations_for_it_are_pairs_that_can_be_made() -> None:
    found = clamps()
    assert len(found) == len(set(found))
    assert {replace(o, activation="none") for o in found if clamped(o)} == {o for o in found if not clamped(o)}
    for operation in found:
        assert sample(operation, "onnx", blocked=True) != sample(replace(operation, activation="relu"), "onnx", blocked=True)


def test_only_a_table_of_onnx_runtime_s_floats_holds_them() -> None:
    def beside(format: Format, numbers: Numbers, blocked: bool = False) -> set[Operation]:
        return set(general_operations(format, [numbers], blocked=blocked)) - set(grid(format, numbers))

    pairs = {o for o in clamps() if clamped(o)}
    assert pairs <= beside("onnx", "float") and not any(o.op == "reorder_input" for o in beside("onnx", "float"))
    assert {o.op for o in beside("onnx", "float", True)} >= {"reorder_input", "reorder_output"}
    assert not beside("onnx", "int8", True) and not beside("tflite", "float")
