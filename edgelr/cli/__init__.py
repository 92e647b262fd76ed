"""The command line: one file a command. It parses, calls and renders; errors become messages and exit codes here."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

from edgelr.errors import EdgelrError, Exit


def main() -> None:
    """Run the command line; ends the process with the contract's exit code. No traceback reaches the user."""
    from edgelr.cli.app import app
    from edgelr.cli.interrupt import interruptible
    from edgelr.cli.render import complain

    def tell_interrupted() -> None:
        complain(EdgelrError("interrupted", "nothing half-written is left", "run the same command again"))

    os.environ.setdefault("TORCH_LOGS", "-all")  # errors only; torch reads it when it is imported
    if "OMP_WAIT_POLICY" not in os.environ:
        # libgomp's threads wait for each other in a loop of 300,000 turns; where another program has a core, that is all they do. Measured,
        # `edgelr demo` on two cores: beside a busy program of higher priority more than 120 s so and 35 with 3,000 turns, beside one of
        # the same 38 and 32, alone 18 and 16. No turns at all (passive): a step of its training takes 24 ms alone, not 16.
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    code: int = Exit.OK
    try:
        try:
            with interruptible(tell_interrupted):
                app(prog_name="edgelr")
        except SystemExit as ended:  # typer ends the process itself, in silence where it was interrupted
            if ended.code == Exit.INTERRUPTED:
                raise KeyboardInterrupt from ended
            code = ended.code if isinstance(ended.code, int) else Exit.OK if ended.code is None else Exit.FAULT
    except EdgelrError as error:
        log = ""
        if error.detail:  # what a library said, whole: too long for a terminal
            with tempfile.NamedTemporaryFile("w", prefix="edgelr-log-", suffix=".txt", delete=False) as file:
                file.write(error.detail)
            log = file.name
        complain(error, log)
        code = error.exit_code
    except KeyboardInterrupt:
        tell_interrupted()
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output left: so do we
    except MemoryError:
        complain(
            EdgelrError(
                "out of memory",
                "the network, the data or the search don't fit",
                "give fewer samples: --calibration-samples, --score-samples",
            )
        )
        code = Exit.BAD_INPUT
    except Exception as error:
        with tempfile.NamedTemporaryFile("w", prefix="edgelr-fault-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
        complain(
            EdgelrError(
                f"a fault in edgelr: {type(error).__name__}: {str(error)[:300]}",
                "this is not your call's fault",
                f"report it with {Path(file.name)}",
            )
        )
        code = Exit.FAULT
    if "torch.distributed" in sys.modules:
        from edgelr.training import leave, several

        if several():
            leave(int(code))
    sys.exit(int(code))
