"""Names that come from outside: what may be put on a command line, and how what a device sent is shown."""
from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import unquote

from edgelr.errors import UsageError

SHOWN_CHARACTERS = 300
NAME_BYTES = 200  # file systems allow 255; what we add to a name needs room
_OPTION = re.compile(r"[a-z][a-z-]{0,30}")


def shown(text: bytes | str, limit: int = SHOWN_CHARACTERS) -> str:
    """Text of a device as it may appear on a terminal: one line, no control or direction characters, at most ``limit`` characters."""
    whole = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
    cut = whole.strip()[:limit]
    safe = "".join(c if c == " " or (c.isprintable() and unicodedata.category(c) != "Cf") else _escape(c) for c in cut)
    return safe + ("…" if len(whole.strip()) > limit else "")


def last_line(text: bytes) -> str:
    """The last line with something in it, shown: where programs say what went wrong."""
    lines = [line for line in text[-20_000:].splitlines() if line.strip()]
    return shown(lines[-1]) if lines else ""


def check_file_name(name: str) -> None:
    """A plain name within one folder. Raises ``UsageError`` for a path, control characters, or more than 200 bytes."""
    refused = (
        "it is empty." if not name
        else "it leads out of its folder." if "/" in name or name in (".", "..")
        else "it has control characters." if has_control(name)
        else f"it is longer than {NAME_BYTES} bytes." if len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES
        else ""
    )  # fmt: skip
    if refused:
        raise UsageError(f"A file on a device can't be named '{shown(name, 60)}'.", refused, "use letters, digits, '.', '_' and '-'.")


def has_control(text: str) -> bool:
    """Whether it has what no name needs: control characters (line ends, NUL, escapes) or halves of characters."""
    return any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def split_address(address: str, known: frozenset[str]) -> tuple[str, Mapping[str, str]]:
    """``head?option=value&…`` as its head and its options, percent signs decoded. Values never appear in the message.

    Raises ``UsageError`` for options not in ``known``, given twice, without a value, or with control characters.
    """
    if has_control(address) or len(address) > 2000:
        raise UsageError("The device's address can't be read.", "it has control characters, or is longer than 2000.", "type it anew.")
    head, mark, rest = address.partition("?")
    options: dict[str, str] = {}
    for part in rest.split("&") if mark else ():
        name, _, value = part.partition("=")
        value = unquote(value, errors="strict") if _is_utf8(value) else "\0"
        if name not in known:
            told = f"'{name}'" if _OPTION.fullmatch(name) else "what follows '?'"
            allowed = ", ".join(f"?{option}=" for option in sorted(known))
            raise UsageError("The device's address can't be read.", f"{told} is no option of it.", f"known: {allowed or 'none'}.")
        if name in options or not value or has_control(value):
            raise UsageError("The device's address can't be read.", f"'?{name}=' needs one value, without control characters.")
        options[name] = value
    return head, options


def check_python(path: str) -> str:
    """A Python there: an absolute path, or a name like python3.11. Raises ``UsageError``."""
    if path and not path.startswith("/") and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,60}", path):
        raise UsageError("The device's address can't be read.", "'?python=' must be an absolute path, or a name like python3.11.")
    return path


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_utf8(value: str) -> bool:
    try:
        unquote(value, errors="strict")
    except UnicodeDecodeError:
        return False
    return True
