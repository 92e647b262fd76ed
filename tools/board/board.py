"""An emulated Arm board, booted in full: Debian's kernel and Python with both runtimes, reached by ssh as a real one is.

    python tools/board/board.py --folder FOLDER build
    python tools/board/board.py --folder FOLDER run [--core cortex-a76] [--cpus 2]

``build`` fetches about 150 MB from Debian and PyPI (qemu-user); ``run`` boots it (qemu-system-arm), prints how it is reached, and ends it
when its standard input ends or it is interrupted. It computes what a board computes; its times mean nothing.
"""
from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from image import build, built
from machine import CORES, Board

from edgelr.errors import EdgelrError


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, required=True, help="what build makes and run boots")
    commands = options.add_subparsers(dest="command", required=True)
    commands.add_parser("build")
    run = commands.add_parser("run")
    run.add_argument("--core", choices=CORES, default=CORES[0])
    run.add_argument("--cpus", type=int, default=1)
    given = options.parse_args()
    try:
        if given.command == "build":
            build(given.folder, lambda line: print(line, flush=True))
            return 0
        if not built(given.folder):
            print(f"{given.folder} holds no board: build it first.", file=sys.stderr)
            return 2
        return boot(given.folder, given.core, given.cpus)
    except EdgelrError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def boot(folder: Path, core: str, cpus: int) -> int:
    """Boot, tell how it is reached, and hold it until nobody wants it any more."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    start = time.monotonic()
    try:
        with Board(folder, core, cpus) as board:
            print(f"# {core}, up after {time.monotonic() - start:.0f} s\nEDGELR_SSH_CONFIG={board.config}\n{board.address}", flush=True)
            sys.stdin.read()
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
