"""Whether a latency table may be used: for this core, this runtime, these threads, today."""
from __future__ import annotations

from datetime import date

from edgelr.errors import BadInputError
from edgelr.latency.table import Table
from edgelr.latency.verifying import unsure

STALE_DAYS = 180  # a measured table is as old as its board's software; half a year covers a runtime's and a system's release or two


def check(
    table: Table, *, core: str = "", runtime: str = "", version: str = "", threads: int = 0, today: date | None = None
) -> tuple[str, ...]:
    """What is to be said of the table beside any price from it; what isn't given isn't checked.

    Raises BadInputError where the table can't price anything: it is another core's, another runtime's, or for another number of threads.
    Labels: another version of the runtime, measured more than 180 days ago (a simulated table doesn't age), dated in the future, measured
    on a device that was busy, edited.
    """
    head = table.head
    for name, wanted, has in (("core", core, head.core), ("runtime", runtime, head.runtime)):
        if wanted and wanted != has:
            raise BadInputError(
                f"The latency table of {head.target} can't be used here.",
                f"its {name} is {has}, not {wanted}: other kernels, other times.",
                "give the table of this device (edgelr table list), or build it: edgelr table build",
            )
    if threads and threads != head.threads:
        raise BadInputError(
            f"The latency table of {head.target} can't be used here.",
            f"it holds for {head.threads} threads, not {threads}: the speed-up differs from operation to operation.",
            "build one with the number of threads that you need: edgelr table build",
        )
    labels = []
    if version and version != head.version:
        labels.append(f"its rows are of {head.runtime} {head.version}, and {version} is to be priced")
    if head.how == "measured" and today is not None:
        days = (today - date.fromisoformat(head.made)).days
        if days > STALE_DAYS:
            labels.append(f"stale: measured {days} days ago ({head.made})")
        elif days < 0:
            labels.append(f"its date is in the future ({head.made})")
    if told := unsure(head.conditions):
        labels.append(told)
    if table.edited:
        labels.append("edited by hand")
    return tuple(labels)
