"""Networks larger than the cache cost more than their rows; those that it holds don't."""
from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgelr.errors import BadInputError
from edgelr.export import tflite_bytes
from edgelr.graph import capture
from edgelr.latency.cut import cut_operators
from edgelr.latency.far import Far, Reference, far_from, network_bytes
from edgelr.latency.file_price import file_price
from edgelr.latency.operation import Operation
from edgelr.latency.operation_bytes import stays_near, value_bytes, weight_bytes
from edgelr.latency.pricer import Pricer
from edgelr.latency.reference_nets import reference_files
from edgelr.latency.table import Head, Row, Table
from edgelr.quantization import quantize

CONV = Operation.parse("conv int8 1x8x8x16 1x8x8x32 3x3 1x1 1 none -")


@pytest.mark.parametrize(("line", "weights", "values"), [
    ("conv int8 1x8x8x16 1x8x8x32 3x3 1x1 1 none -", 9 * 16 * 32, 64 * 48),
    ("conv float 1x8x8x16 1x8x8x32 3x3 1x1 4 none -", 9 * 16 * 32 // 4 * 4, 64 * 48 * 4),
    ("depthwise int8 1x8x8x16 1x8x8x16 3x3 1x1 16 none -", 9 * 16, 64 * 32),
    ("linear dynamic 1x64 1x10 1x1 1x1 1 none -", 640, 74 * 4),
    ("add float 1x64,1x64 1x64 1x1 1x1 1 none -", 0, 192 * 4),
    ("lstm float 1x20x16 1x20x32 1x1 1x1 1 none -", 4 * 48 * 32 * 4, 20 * 48 * 4),
])  # fmt: skip
def test_bytes_of_weights_and_values(line: str, weights: int, values: int) -> None:
    operation = Operation.parse(line)
    assert (weight_bytes(operation), value_bytes(operation)) == (weights, values)


@pytest.mark.parametrize(("line", "near"), [
    ("conv int8 1x8x8x16 1x8x8x32 3x3 1x1 1 none -", False),
    ("linear float 1x64 1x256 1x1 1x1 1 none -", False),
    ("loop float 1x16,1x16,1x64 1x16 1x1 1x1 1 none turns20of1x16x64", True),
    ("depthwise float 1x64x64x208 1x31x31x208 3x3 2x2 208 none -", True),
    ("add float 1x64,1x64 1x64 1x1 1x1 1 none -", True),
])  # fmt: skip
def test_what_an_operation_finds_near(line: str, near: bool) -> None:
    assert stays_near(Operation.parse(line)) == near


def test_a_head_keeps_it() -> None:
    far = Far({"int8": (0.0, 0.0, 0.015, 0.03, 0.01, 0.02, 0.01), "float": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.02)}, {"int8": 0.03})
    assert Far.of({"governor": "performance", **far.conditions()}) == far
    assert Far.of({}) == Far({})
    for text in ("0.1", "0.1 0.2 0.3 0.4 0.5", "0.1 0.2 0.3 0.4 0.5 0.6 x"):
        with pytest.raises(BadInputError):
            Far.of({"far_us_per_kb int8": text})
    for text in ("a tenth", "-0.1", "inf", "nan"):
        with pytest.raises(BadInputError):
            Far.of({"inside_share int8": text})
    with pytest.raises(BadInputError):
        Far.of({"far_us_per_kb int8": "0 0 0 0 0 0 -0.1"})


@pytest.mark.parametrize("costs", [
    (0.01, 0.01, 0.02, 0.03, 0.01, 0.02, 0.005), (0.0, 0.0, 0.01, 0.03, 0.0, 0.0, 0.0), (0.05, 0.06, 0.06, 0.09, 0.0, 0.01, 0.001),
])  # fmt: skip
@pytest.mark.parametrize("inside", [0.0, 0.04])
def test_it_is_found_from_whole_networks(costs: tuple[float, ...], inside: float) -> None:
    far = Far({"int8": costs}, {"int8": inside})
    small, large, heavy = (Operation.parse(f"conv int8 1x7x7x{c} 1x7x7x{c} 3x3 1x1 1 none -") for c in (128, 256, 512))
    tall = Operation.parse("conv int8 1x64x64x64 1x64x64x256 1x1 1x1 1 none -")
    line = Operation.parse("linear int8 1x1000 1x1000 1x1 1x1 1 none -")
    tiny = Operation.parse("conv int8 1x7x7x32 1x7x7x32 3x3 1x1 1 none -")
    nets = ((tiny, 12, 5.0), (small, 7, 30.0), (large, 7, 90.0), (heavy, 7, 300.0), (heavy, 16, 300.0), (line, 16, 50.0), (line, 40, 50.0),
            (tall, 80, 120.0))  # fmt: skip
    references = []
    for operation, count, us in nets:
        whole = count * (us + far.us(operation, us, network_bytes([operation] * count)))
        references.append(Reference(whole, count * us / whole, [operation] * count))
    found = far_from({"int8": references})
    for numbers in ("int8", "dynamic"):
        assert found.us_per_kb[numbers] == pytest.approx(costs, abs=1e-9) and found.inside[numbers] == pytest.approx(inside, abs=1e-9)
    assert far_from({"float": [Reference(80.0, 1.1, [heavy])]}) == Far({"float": (0.0,) * 7}, {"float": 0.0})


def test_what_stands_between_weighted_operations_finds_its_values_near() -> None:
    far = Far({"int8": (0.0, 0.01, 0.02, 0.03, 0.0, 0.0, 0.005)})
    assert far.us(Operation.parse("add int8 1x64x64x96,1x64x64x96 1x64x64x96 1x1 1x1 1 none -"), 100.0, 16_000_000) == 0
    assert far.us(CONV, 100.0, 16_000_000) == pytest.approx((0.02 * 9 * 16 * 32 + 0.005 * 64 * 48) / 1e3)
    assert far.us(replace(CONV, numbers="float"), 100.0, 16_000_000) == 0  # not told


def test_the_farther_the_larger_the_network() -> None:
    far = Far({"int8": (0.01, 0.01, 0.02, 0.03, 0.0, 0.0, 0.0)})
    kb, mb = 9 * 16 * 32 / 1e3, 1_000_000
    sizes = (0, mb / 4, mb / 2, mb, 2 * mb, 4 * mb, 8 * mb, 16 * mb, 40 * mb, 300 * mb)  # half way is that in the logarithm
    found = [far.us(CONV, 100.0, int(size)) / kb for size in sizes]
    assert found == pytest.approx([0, 0, 0.005, 0.01, 0.01, 0.01, 0.015, 0.02, 0.03, 0.03])
    values = Far({"int8": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01)})
    found = [values.us(CONV, 100.0, size) for size in (mb, 2 * mb, 40 * mb)]
    assert found == pytest.approx([0.0, 0.01 * 64 * 48 / 1e3, 0.01 * 64 * 48 / 1e3])


def test_a_large_operation_is_far_from_its_weights_alone_too() -> None:
    far = Far({"int8": (0.0, 0.0, 0.02, 0.02, 0.0, 0.0, 0.0)})
    large = Operation.parse("conv int8 1x2x2x2830 1x2x2x2830 1x1 1x1 1 none -")  # 8 MB: half of the way from 4 to 16
    assert far.us(large, 100.0, network_bytes([large])) == 0
    assert far.us(large, 100.0, 16_000_000) == pytest.approx(0.01 * 8000, rel=0.01)


def test_an_operation_costs_more_among_others_and_a_loop_has_them_in_it() -> None:
    far = Far({}, {"int8": 0.04})
    assert far.us(CONV, 50.0, 1000) == pytest.approx(2.0)
    assert far.us(replace(CONV, numbers="float"), 50.0, 1000) == 0
    assert far.us(Operation.parse("loop int8 1x16,1x16,1x64 1x16 1x1 1x1 1 none turns20of1x16x64"), 50.0, 1000) == 0


@pytest.mark.parametrize(("line", "us"), [
    ("linear float 1x512 1x512 1x1 1x1 1 none -", 0.01), ("conv float 1x1x1x512 1x1x1x512 1x1 1x1 1 none -", 0.01),
    ("conv float 1x2x1x512 1x2x1x512 1x1 1x1 1 none -", 0.03), ("linear float 1x4x512 1x4x512 1x1 1x1 1 none -", 0.03),
])  # fmt: skip
def test_weights_that_are_gone_through_once_have_their_own_way(line: str, us: float) -> None:
    far, operation = Far({"float": (0.0, 0.0, 0.03, 0.03, 0.01, 0.01, 0.0)}), Operation.parse(line)
    kb = 4 * 512 * 512 / 1e3
    assert far.us(operation, 100.0, 16_000_000) == pytest.approx(us * kb, rel=0.02)
    assert far.us(operation, 100.0, 4_000_000) == 0


@pytest.mark.parametrize("numbers", ["int8", "float"])
def test_references_are_of_each_size(numbers: str) -> None:
    files = reference_files("tflite", numbers)  # type: ignore[arg-type]
    assert files == reference_files("tflite", numbers)  # type: ignore[arg-type]
    sizes = {name: network_bytes(c.operation for c in cut_operators(data, "tflite")) for name, data in files.items()}
    mb = {name: size / 1e6 for name, size in sizes.items()}
    assert 1 <= mb["small"] < 1.3 and 4 <= mb["middle"] < 4.5 and min(mb[name] for name in ("many", "wide", "points", "lines")) > 16
    assert min(mb["huge"], mb["vast"]) > 37 and mb["long lines"] > 40 and 2 <= mb["tall"] < 4


def test_only_a_large_network_s_price_has_it() -> None:
    torch.manual_seed(0)
    costs = {"int8": (0.0, 0.05, 0.1, 0.2, 0.0, 0.0, 0.0)}

    def price(layers: int, inside: float = 0.0) -> float:
        conditions = Far(costs, {"int8": inside}).conditions()
        head = Head("here", "litert", "1", "core", 1, "measured", "here", "2026-01-01", 0.1, "a test", conditions=conditions)
        graph = capture(nn.Sequential(*(nn.Conv2d(128, 128, 3, padding=1) for _ in range(layers))).eval(), (128, 7, 7))
        data = tflite_bytes(quantize(graph, dict.fromkeys(graph.shapes, (-4.0, 4.0))))
        rows = {c.operation: Row(c.operation, 100.0) for c in cut_operators(data, "tflite")}
        return file_price(data, "tflite", Pricer(Table(head, rows))).times.sum_us

    kb = 9 * 128 * 128 / 1e3
    assert price(2) == pytest.approx(200.0) and price(2, inside=0.04) == pytest.approx(208.0)
    assert 900.0 < price(9) < 900.0 + 9 * 0.1 * kb
    assert price(300) == pytest.approx(30000.0 + 300 * 0.2 * kb)
