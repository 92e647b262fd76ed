"""Latencies that others published, of networks that ``networks`` holds."""
from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import median

FILE = Path(__file__).with_name("published.tsv")

# From one thread to four: medians over all networks that a source timed with both, by core and numbers (float, int8).
#   ncnn: Tencent/ncnn benchmark/README.md; detectors: the sources of that name in published.tsv; xnnpack: xnnpack-2020's
# "four" are the large cores of a phone, whatever they share their cluster with.
SPEEDUPS: dict[str, dict[str, tuple[float, float]]] = {
    "a53": {"ncnn": (2.04, 2.64), "detectors": (1.83, 2.7)},  # Raspberry Pi Zero 2 W; 3B and 3B+ (int8: TFLite's own kernels)
    "a53-armv7": {"detectors": (2.17, 2.96)},  # Raspberry Pi 3B+ in 32 bits
    "a72": {"ncnn": (1.64, 2.12), "detectors": (1.95, 2.91)},  # Raspberry Pi 4
    "a76": {"ncnn": (1.75, 1.83), "detectors": (1.86, 2.27)},  # Raspberry Pi 5
    "a76-phone": {"ncnn": (2.09, 2.57)},  # OnePlus 7T
    "a75": {"ncnn": (2.71, 2.35)},  # none has been published: Snapdragon 835's A73 is the nearest
    "a73": {"ncnn": (2.71, 2.35)},  # Snapdragon 835
}


@dataclass(frozen=True)
class Published:
    """One row: ``core`` is "a72", "kryo" …, ``network`` a name of ``networks.REFERENCES``, ``numbers`` "float" or "int8"."""

    device: str
    core: str
    ghz: float
    threads: int
    runtime: str
    network: str
    numbers: str
    ms: float
    source: str

    @property
    def origin(self) -> str:
        """Who measured it: sources of one origin are left out together."""
        return self.source.split("-")[0]


def rows(file: Path = FILE) -> list[Published]:
    """All rows, in the file's order."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [
        Published(r["device"], r["core"], float(r["ghz"]), int(r["threads"]), r["runtime"], r["network"], r["numbers"], float(r["ms"]),
                  r["source"])
        for r in csv.DictReader(lines, delimiter="\t")
    ]


def sources(file: Path = FILE) -> dict[str, str]:
    """What each short name of a source stands for."""
    heads = (line[2:] for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("# "))
    return dict(h.split(": ", 1) for h in heads if ": " in h and " " not in h.split(": ", 1)[0])


def speedup(row: Published, without: str = "") -> float:
    """One thread's time over this row's, from medians of other origins than ``without``; 1 for one thread."""
    if row.threads == 1:
        return 1.0
    core = "a73" if row.core == "kryo" else row.core
    if row.source.endswith("-armv7") or (row.core == "a76" and row.device.startswith("pixel")):
        core = f"{row.core}-armv7" if row.source.endswith("-armv7") else f"{row.core}-phone"
    known = [v for origin, v in SPEEDUPS[core].items() if origin != without]
    return float(median(v[row.numbers == "int8"] for v in known))
