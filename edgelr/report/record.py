"""report.json: a report as text and back. Reading is strict about what schema 1 says and lets added fields be."""
from __future__ import annotations

import dataclasses
import json
import re
import shlex
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edgelr.errors import BadInputError, EdgelrError
from edgelr.report.contents import SCHEMA, Report

_PASSWORD = re.compile(r"(://[^/@:\s]*):[^@/\s]+@")
_TRY = "Make the report again with this version of edgelr."


def safe_command(argv: Sequence[str]) -> str:
    """The command line for the report, ready for a shell; passwords in addresses and the home folder are left out."""
    line = _PASSWORD.sub(r"\1:***@", shlex.join(argv))
    home = str(Path.home())
    return line if home == "/" else re.sub(rf"{re.escape(home)}(?=/|\s|'|$)", "~", line)


def to_json(report: Report) -> str:
    """The text of report.json. Equal reports give equal text."""
    data = _plain(report)
    data["versions"] = dict(sorted(data["versions"].items()))
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Report:
    """The report that a report.json tells.

    Raises BadInputError where the text is no JSON, is of another schema, lacks a field, or holds what can't be true.
    """
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInputError("report.json can't be read.", f"It is not JSON: {error}.", _TRY) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA or isinstance(schema, bool):
        raise BadInputError(f"report.json has schema {schema!r}.", f"This version of edgelr reads schema {SCHEMA}.", _TRY)
    try:
        report: Report = _build(Report, data, "report")
    except BadInputError:
        raise
    except EdgelrError as error:
        raise BadInputError("report.json holds what can't be true.", f"{error.what} {error.why}", _TRY) from error
    return report


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as JSON's own kinds; numpy's and torch's scalars as Python's."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value)
    return value.item()


def _wrong(where: str, wanted: str, value: Any) -> BadInputError:
    return BadInputError("report.json does not follow schema 1.", f"{where} must be {wanted}, not {json.dumps(value)[:80]}.", _TRY)


def _build(kind: Any, value: Any, where: str) -> Any:
    """``value`` as ``kind``: a dataclass, a tuple, a mapping, a union, a literal or a plain type."""
    origin, args = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_record(kind, value, where)
    if origin in (Union, types.UnionType):
        return None if value is None else _build(next(a for a in args if a is not type(None)), value, where)
    if origin is Literal:
        if value not in args:
            raise _wrong(where, "one of " + ", ".join(map(str, args)), value)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        return tuple(_build(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        return {k: _build(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(where, {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind], value)
    return value


def _build_record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    derived: dict[str, Any] = {}
    for f in dataclasses.fields(kind):
        if f.name in value:
            (given if f.init else derived)[f.name] = _build(hints[f.name], value[f.name], f"{where}.{f.name}")
        elif f.default is dataclasses.MISSING:
            raise BadInputError("report.json does not follow schema 1.", f"{where}.{f.name} is missing.", _TRY)
    record = kind(**given)
    for name, told in derived.items():
        if getattr(record, name) != told:
            raise BadInputError("report.json holds what can't be true.", f"{where}.{name} contradicts its own numbers.", _TRY)
    return record
