"""What tests of refusals share: the files in a folder, and what a refusal looks like."""

from __future__ import annotations

from pathlib import Path

from journey_sample import SHORT, Done, edgelr

from edgelr.errors import Exit


def entries(folder: Path) -> dict[str, bytes | None]:
    """All that is in the folder, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*") if "__pycache__" not in p.parts}


def assert_refused(done: Done, code: Exit, *told: str, try_: bool = True) -> None:
    assert done.code == code, done.err
    assert "Traceback" not in done.out + done.err and "def forward" not in done.err and done.out == ""
    assert done.err.count("error: ") == 1
    assert not try_ or "\n  try: " in done.err
    for word in told:
        assert word in done.err, done.err


def call(model: str, weights: Path | str, data: Path | str, *more: str) -> Done:
    named = ("--weights", str(weights)) if weights else ()
    return edgelr("compress", model, *named, "--data", str(data), "--budget", "60%KB", "--allow-slower", "-q", *SHORT, *more)


def compress(inputs: Path, out: Path, *more: str) -> Done:
    return call(f"{inputs}/net.py:tiny", inputs / "w.safetensors", inputs / "d.npz", "-o", str(out), *more)
