"""What happened in a run: told as it happens, kept for log.jsonl, timed for the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Tell = Callable[[str], None]


@dataclass
class Log:
    """``seconds`` holds wall time by stage, in the order the stages first ran."""

    tell: Tell
    seconds: dict[str, float] = field(default_factory=dict)
    events: list[dict[str, object]] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def say(self, text: str) -> None:
        self.events.append({"seconds": round(time.perf_counter() - self.started, 3), "text": text})
        self.tell(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def jsonl(self) -> str:
        return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in self.events)
