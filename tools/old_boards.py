"""Every golden operator in tflite-runtime 2.14.0, the last of its line, and in TensorFlow's interpreter, against today's LiteRT.

    python tools/old_boards.py --environments FOLDER --out docs/benchmarks/old-boards.md

Each runtime is installed into an environment of its own in FOLDER (a temporary one if not given). TensorFlow takes 1.5 GB; ``--quick``
leaves it out. Ends with 1 where a runtime refuses an operator or lies more than a step off, and that is not known of it.
"""
from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench_table import parser, publish, table, tell
from elsewhere import HERE, Place, run_at
from environments import old_board, tensorflow
from golden_files import Row, compared, tflite_jobs, worst

# What a runtime is known to compute wrongly without saying so, and why.
KNOWN = {
    "tflite-runtime 2.14.0": {
        "FULLY_CONNECTED v5, dynamic": "it takes one scale for all weights, and 0 for it where each output channel has its own: the result "
                                       "is the bias alone. Dynamic-range linear layers are refused for its boards",
        "whole GRU, dynamic": "its loop is of such layers"},
    "TensorFlow 2.21.0": {
        "BATCH_MATMUL v2, int8": "its XNNPACK is wrong for two int8 activations; its own kernels and both other runtimes agree with the "
                                 "integer run"},
}


def failing(rows: Mapping[str, Row], known: Iterable[str]) -> list[str]:
    """What must not be: files refused or beyond a step, of operators not ``known`` to be wrong, and known ones that are right."""
    wrong = [f"{kind}: {name}" for kind, row in rows.items() if kind not in known for name in (*row.refused, *row.off)]
    return wrong + [f"{kind}: right after all" for kind in known if kind in rows and not rows[kind].off]


def cells(row: Row | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    if row.refused:
        return f"**{len(row.refused)} of {row.files} refused**", worst(row)
    return f"{row.equal / row.values:.2%}", f"**{worst(row)}**" if row.off else worst(row)


def main() -> None:
    options = parser(__doc__, "old-boards")
    options.add_argument("--environments", type=Path, help="folder of the runtimes' environments; kept, and used again")
    chosen = options.parse_args()
    start = time.perf_counter()
    with ExitStack() as stack:
        folder = chosen.environments or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgelr-")))
        places: list[Place] = [old_board(folder)] if chosen.quick else [old_board(folder), tensorflow(folder), tensorflow(folder, False)]
        jobs, kinds = tflite_jobs()
        here = run_at(HERE, jobs)
        results = {}
        for place in places:
            began = time.perf_counter()
            results[place.name] = compared(here, run_at(place, jobs), kinds)
            tell(f"{place.name}: {time.perf_counter() - began:.1f} s")
    wrong = {p.name: failing(results[p.name], KNOWN.get(p.name, ())) for p in places}
    total = results[places[0].name]
    rows = [(f"{kind}", row.files, f"{row.values:,}", *(c for p in places for c in cells(results[p.name].get(kind))))
            for kind, row in total.items()]
    listed = [f"- {name}: {', '.join(found) or 'nothing'}" for name, found in wrong.items()]
    publish(
        chosen.out, "Old boards and TensorFlow", time.perf_counter() - start, chosen.quick,
        f"{len(jobs)} files of one operator each, cut from the golden models, with the same inputs everywhere; reference: ai-edge-litert "
        "here, with XNNPACK. For each runtime the share of values that are equal, and the largest difference: in steps of the int8 grid, "
        "or as a share of the largest value for operators in float. All measured.",
        table(("operator", "files", "values", *(h for p in places for h in (f"{p.name}: equal", "largest"))), rows),
        "Known to be wrong, in silence:",
        "\n".join(f"- {name}, {kind}: {why}." for name in results for kind, why in KNOWN.get(name, {}).items()),
        "Refused, or more than one step (1e-5 of the largest in float) off, besides:",
        "\n".join(listed),
    )
    if any(wrong.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
