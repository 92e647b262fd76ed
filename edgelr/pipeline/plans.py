"""plan.toml: a plan as text that people read, diff and edit."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import cast, get_args

from edgelr.errors import BadInputError
from edgelr.vocabulary import Choice, Plan, Scheme, Share

SCHEMA = 1
SHARE_KEYS = ("group", "shares", "left_rank")


def to_toml(plan: Plan, model: str, shape: tuple[int, ...]) -> str:
    """The plan as TOML: a line for each layer, dense ones too, in the network's order."""
    lines = [
        f"schema = {SCHEMA}",
        f"model = {json.dumps(model, ensure_ascii=False)}",
        f"input = {list(shape)}  # without the batch",
        "",
        "# What each layer becomes: dense, or a scheme and its rank.",
        "[layers]",
    ]
    for name, choice in plan.choices.items():
        rank = "" if choice.rank is None else f", rank = {choice.rank}{_share(choice.share)}"
        lines.append(f'{json.dumps(name, ensure_ascii=False)} = {{ scheme = "{choice.scheme}"{rank} }}')
    return "\n".join(lines) + "\n"


def _share(share: Share | None) -> str:
    if share is None:
        return ""
    left = f", left_rank = {share.left_rank}" if share.side == "both" else ""
    return f', group = {json.dumps(share.group, ensure_ascii=False)}, shares = "{share.side}"{left}'


def from_toml(text: str, where: str) -> tuple[Plan, tuple[int, ...]]:
    """A plan and its input shape. Raises BadInputError naming ``where`` and the line's key."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"{where} is no TOML", str(error), "mend it, or take the file of a run") from error
    if table.get("schema") != SCHEMA:
        raise BadInputError(f"{where} has schema {table.get('schema')!r}", f"this version reads schema {SCHEMA}", "make the plan again")
    shape, layers = table.get("input"), table.get("layers")
    if not isinstance(shape, list) or not all(isinstance(s, int) and s > 0 for s in shape) or not isinstance(layers, dict):
        raise BadInputError(f"{where} is no plan", "it needs input = [...] and a table [layers]", "take the plan.toml of a run")
    choices = {}
    for name, entry in layers.items():
        scheme, rank = (entry.get("scheme"), entry.get("rank")) if isinstance(entry, dict) else (None, None)
        fits = scheme in get_args(Scheme) and (rank is None if scheme == "dense" else isinstance(rank, int) and rank > 0)
        share = _share_of(entry) if fits else None
        if not fits or set(entry) - {"scheme", "rank", *(SHARE_KEYS if share else ())}:
            raise BadInputError(
                f"{where}: layer {name!r} is no choice",
                f"{entry!r}",
                f"scheme one of {', '.join(get_args(Scheme))}, and a rank unless dense; for a factor in common group, shares (left, right "
                "or both) and, of both, left_rank",
            )
        choices[name] = Choice(cast(Scheme, scheme), rank, share)
    return Plan(choices), tuple(shape)


def _share_of(entry: dict[str, object]) -> Share | None:
    """What a layer has in common with its group; None where it has nothing, or what is told doesn't fit together."""
    group, side, left, rank = entry.get("group"), entry.get("shares"), entry.get("left_rank", 0), entry.get("rank")
    if not isinstance(group, str) or type(left) is not int or not isinstance(rank, int):
        return None
    if side == "both":
        return Share(group, "both", left) if 0 < left < rank else None
    return Share(group, side) if side in ("left", "right") and "left_rank" not in entry else None


def read_plan(path: Path) -> tuple[Plan, tuple[int, ...]]:
    """A plan.toml from disk. Raises BadInputError."""
    try:
        return from_toml(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} can't be read", str(error), "name the folder of a finished run") from error
