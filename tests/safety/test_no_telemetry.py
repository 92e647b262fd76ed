"""Nothing is reported of what a user does: ONNX Runtime's own telemetry is off wherever edgelr starts it."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORTED = "import edgelr.devices.ort, onnxruntime; onnxruntime.SessionOptions()"
HARNESS = (
    "import sys; sys.path.insert(0, {harness!r}); from harness.runtimes import Ort\n"
    "try: Ort(b'no network', 1)\nexcept Exception: pass\nassert 'onnxruntime' in sys.modules"
)


def leftovers(code: str, home: Path) -> list[str]:
    """The files that a program leaves in its home: ONNX Runtime keeps what it is going to send there."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    subprocess.run([sys.executable, "-B", "-c", code], check=True, env={**own, "HOME": str(home)}, timeout=120)
    return [str(p.relative_to(home)) for p in home.rglob("*") if p.is_file() and "onnxruntime" in p.name.lower()]


def test_edgelr_starts_onnx_runtime_without_telemetry(tmp_path: Path) -> None:
    assert leftovers(IMPORTED, tmp_path) == []


def test_so_does_the_program_that_is_put_on_devices(tmp_path: Path) -> None:
    import edgelr.devices.harness as harness

    assert leftovers(HARNESS.format(harness=str(Path(harness.__file__).parents[1])), tmp_path) == []


def test_the_check_can_fail(tmp_path: Path) -> None:
    if not leftovers("import onnxruntime", tmp_path):
        pytest.skip("this build of ONNX Runtime has no telemetry")
