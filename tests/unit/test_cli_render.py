"""What commands print goes where it should."""
from __future__ import annotations

import os

import pytest

from edgelr.cli.render import answer, stdout_kept


def test_what_a_library_prints_below_python_stays_off_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    with stdout_kept():
        os.write(1, b"a library's debugging line\n")
    answer("{}")
    out, err = capfd.readouterr()
    assert out == "{}\n" and "debugging" in err


def test_stdout_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="boom"), stdout_kept():
        raise ValueError("boom")
    os.write(1, b"here\n")
    assert capfd.readouterr().out == "here\n"
