"""x86 without VNNI adds two products of u8 and s8 in 16 bits (VPMADDUBSW): above 64, weights saturate there. 7-bit weights don't.

Nor do any in files that were made for other processors and are rewritten to be run there.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from elsewhere import HERE, Job, run_at
from environments import AbsentError, x86
from one_op import one

from edgelr.devices import saturates
from edgelr.devices.unsaturated import unsaturated
from edgelr.export import onnx_bytes, tflite_bytes
from edgelr.graph import Graph, IntegerWeights, Node
from edgelr.graph.ops import Conv, Linear
from edgelr.quantization import Quantized, quantize
from edgelr.vocabulary import Grid

PAIR_MAX = 2**15 - 1  # what VPMADDUBSW can hold of u8 * s8 + u8 * s8
INPUTS = 64
X = Grid(1.0, -128)


def at_the_end(weight: int) -> Quantized:
    """A linear layer whose weights are all ``weight`` or all -``weight``: pairs of products as large as they get."""
    integer = torch.tensor([[weight], [-weight]], dtype=torch.int8).expand(2, INPUTS).contiguous()
    weights = IntegerWeights(integer, torch.ones(2), torch.zeros(2, dtype=torch.int32))
    return one(Linear(integer.float(), torch.zeros(2)), (INPUTS,), X, Grid(float(2 * 255 * weight * INPUTS / 255), 0), weights)


def random_conv(weight_max: int) -> Quantized:
    """64 channels of random weights, on the grid as ``quantize`` puts them."""
    rng = np.random.RandomState(2)
    op = Conv(torch.from_numpy(rng.standard_normal((16, 64, 3, 3)).astype(np.float32)), torch.zeros(16), (1, 1), (1,) * 4, (1, 1))
    graph = Graph.build("x", (64, 5, 5), [Node("y", op, ("x",))], "y")
    return quantize(graph, {"x": (0.0, 255.0), "y": (-9000.0, 9000.0)}, weight_max=weight_max)


ENDS, CONVS = (63, 64, 65, 127), (63, 127)


def jobs() -> list[Job]:
    rng, made = np.random.RandomState(1), []
    for weight in ENDS:
        q = at_the_end(weight)
        made += [Job(f"end-{weight}", "onnx", onnx_bytes(q), [np.full((1, INPUTS), 255, np.float32)]),
                 Job(f"end-lite-{weight}", "tflite", tflite_bytes(q), [np.full((1, 1, INPUTS), 127, np.int8)])]
    large = rng.randint(128, 256, (2, 64, 5, 5)).astype(np.float32)  # post-ReLU activations near their top
    for weight in CONVS:
        q = random_conv(weight)
        made += [Job(f"conv-{weight}", "onnx", onnx_bytes(q), [large]),
                 Job(f"conv-lite-{weight}", "tflite", tflite_bytes(q), [np.moveaxis(large - 128, 1, -1)[:, None].astype(np.int8)])]
    return made


@cache
def results() -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """Outputs of all jobs here (rewritten, if this processor saturates), on a Haswell, and there rewritten."""
    rewritten = [replace(job, data=unsaturated(job.data)) if job.format == "onnx" else job for job in jobs()]
    try:
        haswell = x86("Haswell")
        return run_at(HERE, rewritten if saturates() else jobs()), run_at(haswell, jobs()), run_at(haswell, rewritten)
    except AbsentError as error:
        pytest.skip(str(error))


def test_the_bound_of_the_weights() -> None:
    assert 2 * 255 * 64 <= PAIR_MAX < 2 * 255 * 65
    q = random_conv(63)
    assert int(q.weights["y"].weight.abs().max()) == 63
    assert int(random_conv(127).weights["y"].weight.abs().max()) == 127


@pytest.mark.parametrize("job", [*(f"end-{w}" for w in ENDS), *(f"conv-{w}" for w in CONVS)])
def test_a_rewritten_file_does_not_saturate(job: str) -> None:
    here, _, rewritten = results()
    np.testing.assert_array_equal(here[job][0], rewritten[job][0])


def test_only_files_with_wide_weights_are_rewritten() -> None:
    narrow, wide = (onnx_bytes(random_conv(weight_max)) for weight_max in CONVS)
    assert unsaturated(narrow) == narrow and unsaturated(wide) != wide
    assert unsaturated(unsaturated(wide)) == unsaturated(wide)
    assert unsaturated(b"no file") == b"no file"


@pytest.mark.parametrize("job", ["end-63", "end-64", "conv-63"])
def test_narrow_weights_give_the_same_onnx_output_without_vnni(job: str) -> None:
    here, there, _ = results()
    np.testing.assert_array_equal(here[job][0], there[job][0])


@pytest.mark.parametrize("job", ["end-65", "end-127", "conv-127"])
def test_wider_weights_do_not(job: str) -> None:
    here, there, _ = results()
    assert (here[job][0] != there[job][0]).any()


@pytest.mark.parametrize("job", [*(f"end-lite-{w}" for w in ENDS), *(f"conv-lite-{w}" for w in CONVS)])
def test_litert_does_not_saturate(job: str) -> None:
    here, there, _ = results()
    np.testing.assert_array_equal(here[job][0], there[job][0])
