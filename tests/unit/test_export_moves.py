"""A chain of reshapes and permutations becomes one move that does the same, of at most one transpose."""
from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgelr.export.moves import Move, axes_of, move, reshaped


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[str, tuple[int, ...]]]]:
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)))
    now, steps = shape, []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            order = tuple(draw(st.permutations(range(len(now)))))
            steps.append(("permute", order))
            now = tuple(now[a] for a in order)
        else:
            left, target = prod(now), []
            while left > 1 and len(target) < 4:
                target.append(draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0])))
                left //= target[-1]
            now = (*target, left)
            steps.append(("reshape", now))
    return shape, steps


@given(chains())
def test_one_move_does_what_the_chain_does(chain: tuple[tuple[int, ...], list[tuple[str, tuple[int, ...]]]]) -> None:
    shape, steps = chain
    x = np.arange(prod(shape)).reshape(shape)
    y, source = x, axes_of(shape)
    axes = list(source)
    for kind, value in steps:
        if kind == "permute":
            y, axes = y.transpose(value), [axes[a] for a in value]
        else:
            grouped = reshaped(axes, value)
            if grouped is None:  # it parts what can't be parted: the writer brings the data to torch's order first
                break
            y, axes = y.reshape(value), grouped
    step = move(source, axes)
    moved = x.reshape(step.before)
    moved = moved if step.order is None else moved.transpose(step.order)
    assert moved.shape == step.between
    np.testing.assert_array_equal(moved.reshape(y.shape), y)
    assert (step.order is None) == (y.ravel().tolist() == sorted(y.ravel().tolist()))


def test_heads_are_one_transpose_of_four_axes() -> None:
    axes = axes_of((1, 7, 12))
    heads = reshaped(axes, (1, 7, 3, 4))
    assert heads is not None
    assert move(axes, [heads[0], heads[2], heads[1], heads[3]]) == Move((1, 7, 3, 4), (0, 2, 1, 3))


def test_a_map_in_channels_last_order_is_a_sequence_of_places_as_it_lies() -> None:
    """ViT's flatten(2).transpose(1, 2) behind a convolution costs nothing in a .tflite."""
    batch, channels, height, width = axes_of((1, 8, 4, 5))
    flat = reshaped([batch, channels, height, width], (1, 8, 20))
    assert flat is not None
    assert move([batch, height, width, channels], [flat[0], flat[2], flat[1]]).order is None


def test_what_cuts_through_an_axis_is_no_move() -> None:
    assert reshaped(axes_of((2, 3)), (3, 2)) is None
