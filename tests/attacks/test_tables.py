"""Latency tables that were cut off, damaged, or made to do harm: a typed error or the table as it was written, at once, never a fault."""
from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from latency_sample import grid, table

from edgelr.errors import BadInputError
from edgelr.latency.operation import Operation
from edgelr.latency.pricer import Pricer
from edgelr.latency.store import load_table
from edgelr.latency.table_file import MAX_BYTES, dumps, loads

TEXT = dumps(table([*grid(3), *grid(1)]))


def test_a_table_that_was_cut_off_is_refused() -> None:
    for i in range(200):
        with pytest.raises(BadInputError):
            loads(TEXT[: len(TEXT) * i // 200])


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    data, rng, file = TEXT.encode(), random.Random(0), tmp_path / "t.tsv"
    for _ in range(1000):
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        broken = bytearray(data)
        broken[at] ^= 1 << bit
        file.write_bytes(bytes(broken))
        with pytest.raises(BadInputError):
            load_table(file)


def test_random_bytes_and_lines_are_refused(tmp_path: Path) -> None:
    rng, file = random.Random(1), tmp_path / "t.tsv"
    lines = TEXT.split("\n")
    for i in range(300):
        some = [rng.choice(lines) for _ in range(rng.randrange(1, 40))]
        file.write_bytes(rng.randbytes(rng.randrange(200)) if i % 2 else "\n".join([*lines[:1], *some, ""]).encode())
        with pytest.raises(BadInputError):
            load_table(file)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "\n" * 10_000, "edgelr-latency-table\t3\n", "edgelr-latency-table\t3\n\n",
        "edgelr-latency-table\t3\n\n\nend\t0\tedited\n",
        "edgelr-latency-table\t" + "9" * 100_000 + "\n", "\t" * 1_000_000 + "\n", "edgelr-latency-table\t3\r\n",
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        loads(text)


def test_a_huge_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    file = tmp_path / "t.tsv"
    with file.open("wb") as stream:
        stream.truncate(MAX_BYTES * 500)
    start = time.perf_counter()
    with pytest.raises(BadInputError, match="8 MB"):
        load_table(file)
    assert time.perf_counter() - start < 5
    with pytest.raises(BadInputError, match="can't be read"):
        load_table(tmp_path)


def edited(rows: str) -> str:
    """A table of rows that say of themselves that they were edited: no sum protects what follows from them."""
    head, _, _ = TEXT.partition("\n\n")
    columns = TEXT.partition("\n\n")[2].split("\n")[0]
    return f"{head}\n\n{columns}\n{rows}end\t{rows.count(chr(10))}\tedited\n"


@pytest.mark.parametrize(
    "shape", ["9" * 5000, "1x" * 400 + "1", "٣x3x3x3", "1_0x1x1x1", "+1x1x1x1", " 1x1x1x1", "1x1x1x1.0", "-1x1x1x1", "4294967296x1x1x1"]
)
def test_odd_sizes_are_refused(shape: str) -> None:
    with pytest.raises(BadInputError):
        loads(edited(f"1\t0\t1\tconv\tint8\t{shape}\t1x1x1x8\t3x3\t1x1\t1\tnone\t-\n"))


@pytest.mark.parametrize("us", ["٣", "1_0", "0x10", "+1", " 1", "1 ", "", ".", "1.", ".5", "1e400", "-0", "NaN", "Infinity"])
def test_odd_numbers_are_refused(us: str) -> None:
    with pytest.raises(BadInputError):
        loads(edited(f"{us}\t0\t1\tconv\tint8\t1x1x1x8\t1x1x1x8\t3x3\t1x1\t1\tnone\t-\n"))


def test_whatever_a_well_formed_table_holds_can_be_priced_by() -> None:
    """Sizes that contradict each other, zeros, one row for each family: finite prices, no fault."""
    words = ["conv", "linear", "matmul", "softmax", "split", "maxpool", "lstm", "no_such_thing"]
    rows = "".join(
        f"{us}\t0\t1\t{op}\tint8\t{shape}\t{out}\t{kernel}\t1x1\t{groups}\tnone\t{detail}\n"
        for op in words
        for us, shape, out, kernel, groups, detail in (
            ("0", "scalar", "scalar", "1x1", "1", "-"), ("999999999", "1x1", "2147483648x2147483648", "3x3", "7", "axis9"),
            ("1", "-", "1x8", "1x1", "1", "axes9x9x9"), ("0.000001", "1x2x3,4x5", "1x8x8", "9x9", "2147483648", "constantx"),
            ("5", "1x8", "1x8", "1x1", "1", "axis1into"),
        )
    )  # fmt: skip
    t = loads(edited(rows))
    pricer = Pricer(t)
    others = [Operation(op, "int8", ((1, 4, 4, 8),), (1, 4, 4, 16), (3, 3)) for op in (*words, "another")]
    for operation in [*t.rows, *others]:
        assert 0 <= pricer.price(operation).us < float("inf")
    pricer.smoothed()
