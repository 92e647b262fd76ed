"""Every command that the pages tell is one that edgelr takes: its options exist, and so many words belong to it."""
from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from edgelr.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [page for where in ("README.md", "docs/*.md", "docs/formats/*.md", "targets/*/README.md") for page in sorted(ROOT.glob(where))]


def told() -> Iterator[tuple[str, str]]:
    """(page, command) of every line of code that begins with edgelr, and of every such code within a line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.split("\n"):
            found = [line.strip()] if line.startswith("    edgelr ") else re.findall(r"`(edgelr [a-z][^`]*)`", line)
            yield from ((str(page.relative_to(ROOT)), command) for command in found)


COMMANDS = sorted(set(told()))


def parsed(words: list[str]) -> None:
    """Raises what the command line raises for words that it can't take; nothing is run."""
    command: Any = typer.main.get_command(app)
    parent: Any = None
    while hasattr(command, "commands"):
        parent = command.make_context(command.name, list(words), parent=parent, resilient_parsing=False) if parent is None else parent
        _, command, words = command.resolve_command(parent, words)
        if hasattr(command, "commands"):
            parent = command.make_context(command.name, list(words), parent=parent)
    command.make_context(command.name, list(words), parent=parent)


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 30 and sum(page.startswith("targets/") for page, _ in COMMANDS) >= 10


@pytest.mark.parametrize(("page", "text"), COMMANDS)
def test_a_told_command_is_taken(page: str, text: str) -> None:
    words = [word for word in shlex.split(text, comments=True)[1:] if word not in ("…", "...")]
    try:
        parsed(words)
    except Exception as error:
        whole = "…" not in text and text != " ".join(["edgelr", *words[:2]])  # a command's name alone, or a part of it, lacks what it needs
        assert type(error).__name__ == "MissingParameter" and not whole, f"{page}: {text}: {error}"


@pytest.mark.parametrize("wrong", ["edgelr table calibrate pixel-4 --measured a:1ms b:2ms", "edgelr compress net.py:net --no-such 3"])
def test_a_wrong_one_is_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        test_a_told_command_is_taken("page", wrong)
