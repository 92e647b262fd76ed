"""An interrupted run: what was found and trained so far, in a folder beside the output, to be taken up by --resume."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edgelr.errors import BadInputError, BudgetError, GateError, InterruptedRunError, UsageError
from edgelr.pipeline.fit import Fitted, Fitting, Round
from edgelr.pipeline.lines import versions
from edgelr.pipeline.plans import read_plan
from edgelr.pipeline.plans import to_toml as plan_toml
from edgelr.pipeline.settings import Settings, to_toml
from edgelr.ranks import Search
from edgelr.training import Checkpoint
from edgelr.vocabulary import Plan

EITHER_WAY = ("resume", "force", "strict")  # settings that the result doesn't depend on


@dataclass
class Unfinished:
    """``folder`` None: nothing is kept, because nothing is written or nothing is trained."""

    folder: Path | None
    settings: Settings

    @classmethod
    def of(cls, settings: Settings) -> Unfinished:
        """The folder of a run, checked before any work. Raises UsageError: there is one and --resume isn't asked for, or the other way
        round, or it is of other settings."""
        if settings.train == "none" or not settings.out:
            return cls(None, settings)
        path = Path(settings.out)
        folder = path.with_name(f"{path.name}.unfinished")
        if not folder.exists():
            if settings.resume:
                raise UsageError("there is nothing to resume", f"{folder} does not exist", "leave --resume out to begin anew")
            return cls(folder, settings)
        if not settings.resume:
            raise UsageError(f"{folder} holds an interrupted run", "its training would be lost", "add --resume, or delete it to begin anew")
        unfinished = cls(folder, settings)
        unfinished._check()
        return unfinished

    @property
    def begun(self) -> bool:
        """Whether there is something to take up."""
        return self.folder is not None and (self.folder / "run.toml").exists()

    def begin(self) -> None:
        """Make the folder, with the settings that whoever takes it up must have."""
        if self.folder is None or self.begun:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "versions.json").write_text(json.dumps(versions()), encoding="utf-8")
            (self.folder / "run.toml").write_text(to_toml(self.settings), encoding="utf-8")
        except OSError as error:
            raise BadInputError(f"{self.folder} can't be written", error.strerror or str(error), "make room, or name another -o") from error

    def checkpoint(self, name: str) -> Checkpoint | None:
        """Where a training is kept."""
        return None if self.folder is None else Checkpoint(self.folder / f"{name}.safetensors")

    def setup(self) -> tuple[str, str, int] | None:
        """The recipe that was begun with, why, and its epochs in all; None where there is none. Raises BadInputError."""
        if self.folder is None or not (self.folder / "setup.json").exists():
            return None
        try:
            kept = json.loads((self.folder / "setup.json").read_text(encoding="utf-8"))
            return str(kept["recipe"]), str(kept["why"]), int(kept["epochs"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(error) from error

    def keep(self, fitted: Fitted | None, model: str, shape: tuple[int, ...], setup: tuple[str, str, int]) -> None:
        """Keep a plan and how it was found, and the setup of training: its recipe, why, and its epochs."""
        if self.folder is None:
            return
        self.begin()
        words = dict(zip(("recipe", "why", "epochs"), setup, strict=True))
        (self.folder / "setup.json").write_text(json.dumps(words), encoding="utf-8")
        if fitted is None:
            return
        found = {"search": asdict(fitted.search), "evaluations": fitted.evaluations}
        found["rounds"] = [{"predicted_ms": dict(r.predicted_ms), "measured_ms": dict(r.measured_ms)} for r in fitted.rounds]
        (self.folder / "search.json").write_text(json.dumps(found), encoding="utf-8")
        (self.folder / "plan.toml").write_text(plan_toml(fitted.plan, model, shape), encoding="utf-8")

    def plan(self) -> Plan | None:
        """The plan that was kept, None where there is none. Raises BadInputError."""
        path = None if self.folder is None else self.folder / "plan.toml"
        return None if path is None or not path.exists() else read_plan(path)[0]

    def found(self, fitting: Fitting) -> Fitted | None:
        """The plan that was kept, None where there is none. Raises BadInputError."""
        plan = self.plan()
        if self.folder is None or plan is None:
            return None
        try:
            kept = json.loads((self.folder / "search.json").read_text(encoding="utf-8"))
            rounds = tuple(Round(r["predicted_ms"], r["measured_ms"]) for r in kept["rounds"])
            plan = fitting.factors.grouped.expanded(plan)  # its groups are known from now on
            return Fitted(plan, Search(**kept["search"]), rounds, fitting.prices, kept["evaluations"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(error) from error

    def remove(self) -> None:
        """The run is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _unreadable(self, error: Exception) -> BadInputError:
        return BadInputError(f"{self.folder} can't be read", str(error) or type(error).__name__, "delete it to begin anew")

    def _check(self) -> None:
        assert self.folder is not None
        try:
            was = tomllib.loads((self.folder / "run.toml").read_text(encoding="utf-8"))
            then = json.loads((self.folder / "versions.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return  # it ended before anything was kept
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        now = tomllib.loads(to_toml(self.settings))
        differs = [f"{k} was {was.get(k)!r}, is {now.get(k)!r}" for k in {**was, **now} if k not in EITHER_WAY and was.get(k) != now.get(k)]
        differs += _changed(then, versions())
        if differs:
            raise UsageError("the interrupted run had other settings", "; ".join(differs), "give the same, or delete its folder")


def _changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [f"{name} was {then.get(name)}, is {now.get(name)}" for name in ("edgelr", "torch") if then.get(name) != now.get(name)]


@contextmanager
def told_how_to_resume(unfinished: Unfinished) -> Iterator[None]:
    """Within: an interruption tells that training is kept, where it is."""
    try:
        yield
    except (BudgetError, GateError):  # trained to its end, and no better for being taken up
        unfinished.remove()
        raise
    except KeyboardInterrupt as error:
        if not unfinished.begun:
            raise
        raise InterruptedRunError(
            "interrupted", f"what was trained is kept in {unfinished.folder}", "run the same command again with --resume"
        ) from error
