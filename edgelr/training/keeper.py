"""When a training's state is written, and what a file must be of to be gone on from."""
from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from torch import Tensor

from edgelr.errors import EdgelrError
from edgelr.training.batches import Batches
from edgelr.training.checkpoint import Checkpoint, Saved, read, write
from edgelr.training.run import Run

LEAST_BETWEEN = 20  # times what a file took to write: at most a twentieth of the time goes there


class Keeper:
    """Writes a training's state where a ``Checkpoint`` says; does nothing without one, and in processes other than the first.

    ``note`` is why the last file could not be written: training goes on, the file before it is still there.
    """

    def __init__(self, checkpoint: Checkpoint | None, run: Run, batches: Batches) -> None:
        self.note = ""
        self._run, self._checkpoint = run, checkpoint
        self._of = {} if checkpoint is None else {**_words(run, batches), **checkpoint.of}
        self._cost, self._last, self._step = 0.0, time.monotonic(), -1

    def resume(self) -> None:
        """Go on from the file where there is one. Raises as ``checkpoint.read``, in all processes alike."""
        if self._checkpoint is None:
            return
        found: Saved | EdgelrError | None = None
        if self._run.world.rank == 0:
            try:
                found = read(self._checkpoint.path, self._of)
            except EdgelrError as error:
                found = error
        found = self._run.world.told(found)
        if isinstance(found, EdgelrError):
            raise found
        if found is not None:
            self._run.load(found)
            self._step = self._run.step

    def save(self, epoch_ends: bool) -> None:
        """Write a file if it is time. The last step is always kept: a training that is done is not done again."""
        if self._checkpoint is None or self._run.world.rank or self._run.step == self._step:
            return
        now, least = time.monotonic(), LEAST_BETWEEN * self._cost
        due = now - self._last >= (least if epoch_ends else max(least, self._checkpoint.seconds))
        if not due and self._run.step < self._run.steps:
            return
        try:
            write(self._checkpoint.path, self._run.saved(self._of))
            self.note, self._step = "", self._run.step
        except OSError as error:
            self.note = f"can't write the checkpoint {self._checkpoint.path}: {error.strerror or error}"
        self._last = time.monotonic()
        self._cost = self._last - now


def _words(run: Run, batches: Batches) -> Mapping[str, str]:
    x, y = next(iter(batches.epoch(0)))
    schedule = {f"the schedule's {name}": str(value) for name, value in asdict(run.schedule).items()}
    return schedule | {
        "the method": type(run.method).__name__, "the seed": str(run.seed), "the number of steps": str(run.steps),
        "the learning rates": ", ".join(f"{s['peak']:g}" for s in run.optimizer.param_groups),
        "the network": digest([*run.trained, *run.others.values()]), "the first batch": digest([x] if y is None else [x, y]),
    }  # fmt: skip


def digest(tensors: Iterable[Tensor]) -> str:
    """16 hex digits that are others for other shapes, types or values."""
    sha = hashlib.sha256()
    for t in tensors:
        sha.update(f"{tuple(t.shape)} {t.dtype}".encode())
        sha.update(t.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]
