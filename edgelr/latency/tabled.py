"""A target without a device: latencies by its tables, labelled as what they are, each with the error that is to be expected."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgelr.devices import Measurement
from edgelr.latency.file_price import FilePrice, file_price
from edgelr.latency.machine import RUNTIMES
from edgelr.latency.op_times import OpTimes
from edgelr.latency.pricer import Pricer
from edgelr.latency.table import Table
from edgelr.vocabulary import Format, How, Timing

BEYOND = ("beyond", "unlike")


@dataclass
class Tabled:
    """Latencies read from tables, by format. ``labels`` are what is to be said of the tables themselves.

    Remembers which operations had to be priced beyond the tables' rows, to tell it.
    """

    tables: Mapping[Format, Table]
    labels: tuple[str, ...] = ()
    _pricers: dict[Format, Pricer] = field(default_factory=dict)
    _beyond: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pricers = {f: Pricer(t) for f, t in self.tables.items()}

    @property
    def on(self) -> str:
        return "; ".join(dict.fromkeys(f"{t.head.target}: {t.head.on}" for t in self.tables.values()))

    @property
    def how(self) -> How:
        """Simulated where any table is."""
        return "simulated" if any(t.head.how == "simulated" for t in self.tables.values()) else "predicted"

    @property
    def threads(self) -> int:
        return next(iter(self.tables.values())).head.threads

    @property
    def runtimes(self) -> Mapping[Format, str]:
        return {f: RUNTIMES[f] for f in self.tables}

    def price(self, data: bytes, format: Format) -> FilePrice:
        """A file's price; operations beyond the table are remembered."""
        price = file_price(data, format, self._pricers[format])
        beyond = {name for name, basis in price.basis.items() if basis in BEYOND}
        if beyond:
            self._beyond.setdefault(RUNTIMES[format], set()).update(beyond)
        return price

    def together(
        self, files: Mapping[str, bytes], format: Format, *, rounds: int = 30, min_seconds: float = 0.3, seed: int = 0
    ) -> Measurement:
        """Each file's price; what would be a spread of measured calls is the table's band."""
        head, band = self.tables[format].head, self.band(format)
        how: How = "simulated" if head.how == "simulated" else "predicted"
        ms = {name: self.price(data, format).times.whole_us / 1e3 for name, data in files.items()}
        on = f"{head.target}: {head.on}"
        timings = {n: Timing(on, head.runtime, head.threads, v, v / (1 + band), v * (1 + band), 0, how) for n, v in ms.items()}
        return Measurement(timings, {n: (v,) for n, v in ms.items()}, dict.fromkeys(ms, 0.0), (), "")

    def op_times(self, data: bytes, format: Format, *, rounds: int) -> OpTimes:
        return self.price(data, format).times

    def band(self, format: Format) -> float:
        return self.tables[format].head.band

    def ratio_band(self, format: Format) -> float:
        head = self.tables[format].head
        return head.ratio_band or head.band

    def notes(self) -> tuple[str, ...]:
        told = [
            f"{len(names)} operations in {runtime} are outside the rows of its table, and their latency is extrapolated: "
            + ", ".join(sorted(names)[:3])
            + (" …" if len(names) > 3 else "")
            for runtime, names in sorted(self._beyond.items())
        ]
        return (*self.labels, *told)

    def close(self) -> None:
        return None
