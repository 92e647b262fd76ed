"""A latency table as a text file. The format and a reason for each rule: docs/formats/latency-table.md."""
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import date
from math import isfinite
from typing import get_args

import numpy as np

from edgelr.errors import BadInputError
from edgelr.latency.operation import Operation
from edgelr.latency.table import SCHEMA, Head, Row, Table
from edgelr.vocabulary import Numbers

MARK = "edgelr-latency-table"
COLUMNS = ("us", "half_width", "n", "op", "numbers", "inputs", "output", "kernel", "stride", "groups", "activation", "detail")
MAX_BYTES, MAX_ROWS, MAX_LINE, MAX_TEXT = 8_000_000, 20_000, 1_000, 600
MAX_US = 1e9  # a quarter of an hour for one operation
_DIGITS = 6
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_TEXTS = ("target", "runtime", "version", "core", "how", "on", "made", "band_from")
_NUMBERS = ("threads", "band", "ratio_band", "call_us", "clock_ghz")


def dumps(table: Table) -> str:
    """The file's text: equal tables give equal text, and ``loads`` gives back the same text's table.

    Numbers are kept to six digits. Raises BadInputError where the table breaks a rule of the format, so that what is written can be read.
    """
    head = table.head
    lines = [f"{MARK}\t{SCHEMA}"]
    lines += [f"{key}\t{getattr(head, key)}" for key in _TEXTS]
    lines += [f"threads\t{head.threads}"] + [f"{key}\t{_spell(getattr(head, key))}" for key in _NUMBERS[1:]]
    lines += [f"step.{numbers}\t{step}" for numbers, step in sorted(head.steps.items())]
    lines += [f"condition.{name}\t{text}" for name, text in sorted(head.conditions.items())]
    lines += ["", "\t".join(COLUMNS)]
    for row in sorted(table.rows.values(), key=lambda r: r.operation):
        lines.append("\t".join((_spell(row.us), _spell(row.half_width), str(row.n), *str(row.operation).split(" "))))
    body = "".join(f"{line}\n" for line in lines)
    text = body + (f"end\t{len(table.rows)}\tedited\n" if table.edited else _seal(body, len(table.rows)))
    again = loads(text)
    if set(again.rows) != set(table.rows):
        raise BadInputError("The latency table can't be written.", "its rows don't name their own operations.")
    return text


def loads(text: str) -> Table:
    """A table from a file's text. Raises BadInputError, naming the line, for all that breaks a rule of the format."""
    if len(text) > MAX_BYTES:
        raise _refuse("it is larger than 8 MB", "a table has at most 20,000 rows.")
    if not text.endswith("\n"):
        raise _refuse("it doesn't end with a line's end", "it was cut off, or isn't a table.")
    lines = text[:-1].split("\n")
    mark, tab, schema = lines[0].partition("\t")
    if mark != MARK or not tab:
        raise _refuse(f"its first line isn't '{MARK}' and a schema", "this is another kind of file.")
    if schema != str(SCHEMA):
        raise _refuse(f"its schema is {schema[:20]!r}, not {SCHEMA}", "another edgelr wrote it.", "build it again, or use that edgelr.")
    bad = next((i for i, line in enumerate(lines) if len(line) > MAX_LINE or not line.replace("\t", "").isprintable()), None)
    if bad is not None:
        raise _refuse(f"line {bad + 1} is too long or holds a control character", "")
    if "" not in lines:
        raise _refuse("no empty line ends its head", "it was cut off.")
    split = lines.index("")
    count, edited = _closing(lines[-1], text)
    head = _head(lines[1:split])
    if split + 1 >= len(lines) - 1 or lines[split + 1] != "\t".join(COLUMNS):
        raise _refuse("the line of column names is missing or other than the format's", "")
    rows = _rows(lines[split + 2 : -1], split + 3, head)
    if len(rows) != count:
        raise _refuse(f"it has {len(rows)} rows and says that it has {count}", "rows are missing or were added.", "build it again.")
    return Table(head, rows, edited)


def _seal(body: str, count: int) -> str:
    return f"end\t{count}\tsha256:{hashlib.sha256(body.encode()).hexdigest()}\n"


def _closing(line: str, text: str) -> tuple[int, bool]:
    words = line.split("\t")
    if len(words) != 3 or words[0] != "end" or not re.fullmatch("[0-9]{1,6}", words[1]):
        raise _refuse("its last line doesn't close it", "it was cut off.", "copy it again.")
    if words[2] == "edited":
        return int(words[1]), True
    if _seal(text[: -len(line) - 1], int(words[1])) != f"{line}\n":
        raise _refuse(
            "what it holds isn't what was written (its SHA-256 differs)",
            "it was damaged or edited.",
            "copy or build it again; if you edited it, write 'edited' in place of the sha256 in its last line, and it is labelled so.",
        )
    return int(words[1]), False


def _head(lines: Iterable[str]) -> Head:
    keys: dict[str, str] = {}
    steps: dict[str, int] = {}
    conditions: dict[str, str] = {}
    groups: dict[str, Mapping[str, object]] = {"step": steps, "condition": conditions}
    for i, line in enumerate(lines, 2):
        key, tab, value = line.partition("\t")
        group, dot, name = key.partition(".")
        if not tab or "\t" in value or not value or len(value) > MAX_TEXT:
            raise _refuse(f"line {i} isn't a key, a tab and a text of at most {MAX_TEXT} characters", "")
        if key in keys or name in groups.get(group, {}):
            raise _refuse(f"line {i} says '{key[:40]}' a second time", "")
        if group == "step" and name in get_args(Numbers):
            steps[name] = int(_number(value, i, 1, 4096, whole=True))
        elif group == "condition" and name:
            conditions[name] = value
        elif not dot and key in (*_TEXTS, *_NUMBERS):
            keys[key] = value
        else:
            known = ", ".join((*_TEXTS, *_NUMBERS))
            raise _refuse(f"line {i} has the unknown key '{key[:40]}'", f"known are {known}, step.NUMBERS, condition.NAME.")
    missing = [key for key in (*_TEXTS, *_NUMBERS) if key not in keys]
    if missing:
        raise _refuse(f"its head lacks {', '.join(missing)}", "every table says what it holds for.")
    return _checked_head(keys, steps, conditions)


def _checked_head(keys: Mapping[str, str], steps: Mapping[str, int], conditions: Mapping[str, str]) -> Head:
    if keys["how"] not in ("measured", "simulated"):
        raise _refuse(f"'how' is {keys['how'][:20]!r}", "a table is 'measured' or 'simulated', as a whole.")
    if keys["runtime"] not in ("litert", "onnxruntime"):
        raise _refuse(f"the runtime {keys['runtime'][:20]!r} isn't known", "known are litert and onnxruntime.")
    try:
        if date.fromisoformat(keys["made"]).isoformat() != keys["made"]:
            raise ValueError
    except ValueError:
        raise _refuse(f"'made' is {keys['made'][:20]!r}", "it is a date like 2026-11-22.") from None
    band, ratio_band, call_us = (_number(keys[key], 0, 0, high) for key, high in (("band", 10), ("ratio_band", 10), ("call_us", MAX_US)))
    clock_ghz, threads = _number(keys["clock_ghz"], 0, 0, 100), int(_number(keys["threads"], 0, 1, 1024, whole=True))
    return Head(
        keys["target"], keys["runtime"], keys["version"], keys["core"], threads, keys["how"], keys["on"], keys["made"],  # type: ignore[arg-type]
        band, keys["band_from"], call_us, clock_ghz, ratio_band, steps, conditions,
    )  # fmt: skip


def _rows(lines: Iterable[str], first: int, head: Head) -> dict[Operation, Row]:
    rows: dict[Operation, Row] = {}
    for i, line in enumerate(lines, first):
        words = line.split("\t")
        if len(words) != len(COLUMNS):
            raise _refuse(f"line {i} has {len(words)} columns, not {len(COLUMNS)}", "")
        if len(rows) >= MAX_ROWS:
            raise _refuse(f"it has more than {MAX_ROWS:,} rows", "")
        us, half_width = _number(words[0], i, 0, MAX_US), _number(words[1], i, 0, 10)
        row = Row(_operation(words[3:], i), us, half_width, int(_number(words[2], i, 1, 1e9, whole=True)))
        if row.operation in rows:
            raise _refuse(f"line {i} is a second row of '{row.operation}'", "two prices of one operation contradict each other.")
        if head.how == "simulated" and (row.half_width, row.n) != (0, 1):
            raise _refuse(f"line {i} has an interval in a simulated table", "a simulated time has none, and comes from one run.")
        rows[row.operation] = row
    return rows


def _operation(words: list[str], line: int) -> Operation:
    text = " ".join(words)
    operation = Operation.parse(text)
    dims = [n for shape in (*operation.inputs, operation.output, operation.kernel, operation.stride) for n in shape]
    # One spelling for one operation, or two rows of the same one could stand side by side.
    if str(operation) != text or min([*dims, operation.groups]) < 1 or max(dims, default=1) > 2**31 or len(dims) > 64:
        raise _refuse(f"line {line} isn't an operation as edgelr writes it", "")
    return operation


def _number(text: str, line: int, low: float, high: float, *, whole: bool = False) -> float:
    where = f"line {line}" if line else "its head"
    if not _NUMBER.fullmatch(text) or (whole and "." in text):
        raise _refuse(f"{where} has {text[:20]!r} for a number", "numbers are plain decimals: no sign, no exponent, not NaN.")
    value = float(text)
    if not low <= value <= high:
        raise _refuse(f"{where} has {text[:20]!r} where {low:g} to {high:g} can be", "")
    return value


def _spell(value: float) -> str:
    if not isfinite(value) or value < 0:
        raise BadInputError("The latency table can't be written.", f"it holds the number {value}.")
    return np.format_float_positional(value, precision=_DIGITS, unique=False, fractional=False, trim="-")


def _refuse(what: str, why: str, try_: str = "") -> BadInputError:
    return BadInputError(f"The latency table can't be used: {what}.", why, try_)
