"""Latency tables against devices: rows measured again, and tables refitted to a few latencies measured on a board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgelr.errors import BadInputError, UsageError
from edgelr.latency.calibrate import Calibrated, calibrate, priced
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.pricer import Pricer
from edgelr.latency.row_source import DeviceRows
from edgelr.latency.store import Found, find_table, own_file, save_table
from edgelr.latency.verifying import Verified, verify
from edgelr.pipeline.machine import place_of
from edgelr.pipeline.table_devices import device_of, own_layouts
from edgelr.vocabulary import Format


def verify_table(
    text: str, *, runtime: str, path: str = "", rows: int = 30, seed: int = 0, tell: Callable[[str], None]
) -> list[tuple[Found, Verified]]:
    """Measure rows of the target's tables again on the device that it names. Raises UsageError where it has no table or names no device."""
    with device_of(text, runtime, False) as (target, device, formats):
        done = []
        for format in formats:
            found = find_table(target.name, RUNTIMES[format], path, core=target.core, threads=target.threads)
            if found is None:
                continue
            tell(f"{RUNTIMES[format]}: measuring {min(rows, len(found.table.rows))} rows of {found.path} again")
            blocked = own_layouts(device.describe(RUNTIMES[format]), format)
            source = DeviceRows(device, format, target.threads, blocked=blocked)
            done.append((found, verify(found.table, source, count=rows, seed=seed)))
        if not done:
            raise UsageError(f"{target.name} has no latency table to verify", "none was built or shipped", "edgelr table build")
        return done


def calibrate_tables(
    text: str, measured: Sequence[tuple[Path, float]], *, board: str, path: str = "", out: str = ""
) -> list[tuple[Path, Calibrated]]:
    """The target's tables refitted to files' latencies (milliseconds) measured on a board, and written to the user's own folder.

    One table for each format of the files. Raises UsageError where there is no table of that format, BadInputError for an unreadable file.
    """
    target = place_of(text).target
    formats: dict[Format, list[tuple[Path, float]]] = {}
    for file, ms in measured:
        formats.setdefault(_format_of(file), []).append((file, ms))
    if out and len(formats) > 1:
        raise UsageError(f"-o {out} is one file, and there are {len(formats)} tables", "each runtime has its own", "leave -o out")
    done = []
    for format, files in sorted(formats.items()):
        found = find_table(target.name, RUNTIMES[format], path, core=target.core, threads=target.threads)
        if found is None:
            raise UsageError(f"{target.name} has no latency table for {RUNTIMES[format]}", "nothing can be refitted", "edgelr table build")
        pricer = Pricer(found.table)
        wholes = [priced(file.name, _bytes(file), format, ms * 1e3, pricer) for file, ms in files]
        result = calibrate(found.table, wholes, board)
        kept = Path(out) if out else own_file(target.name, RUNTIMES[format])
        save_table(kept, result.table)
        done.append((kept, result))
    return done


def _format_of(file: Path) -> Format:
    if file.suffix not in (".tflite", ".onnx"):
        raise UsageError(f"{file} is no .tflite or .onnx file", "", "--measured model.tflite:12.3ms")
    return "tflite" if file.suffix == ".tflite" else "onnx"


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInputError(f"{file} can't be read", error.strerror or str(error), "") from error
