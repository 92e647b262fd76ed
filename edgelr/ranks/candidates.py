"""Which ranks of a layer are worth pricing."""
from __future__ import annotations

from edgelr.errors import UsageError


def rank_candidates(max_rank: int, steps: int, break_even: int, count_max: int) -> tuple[int, ...]:
    """Ranks on the target's steps, ascending, at most ``count_max``, spread evenly from the smallest to the largest.

    ``max_rank`` is the full rank of the weight matrix, ``steps`` the multiple on which the target's kernels run full
    registers, ``break_even`` the largest rank that costs less than the dense layer. None lies above either.

    A layer whose break-even lies below one step gets no candidate: its kernel would compute a whole step anyway, so a
    smaller rank buys accuracy loss and no time. With ``steps`` = 1 every rank from 1 counts. With ``count_max`` = 1 the
    largest is kept, the one that hurts least.

    Raises UsageError if ``steps`` or ``count_max`` is below 1.
    """
    if steps < 1 or count_max < 1:
        raise UsageError(
            f"Rank steps and the number of candidates must be at least 1, not {steps} and {count_max}.",
            try_="Set both to 1 or more.",
        )
    count = min(max_rank, break_even) // steps
    if count <= 0:
        return ()
    if count <= count_max:
        return tuple(steps * i for i in range(1, count + 1))
    if count_max == 1:
        return (steps * count,)
    gaps = count_max - 1
    return tuple(steps * (1 + (2 * i * (count - 1) + gaps) // (2 * gaps)) for i in range(count_max))
