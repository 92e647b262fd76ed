"""Prices of an ``.onnx`` file's nodes on this machine, from ONNX Runtime's own profile of its kernels."""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np

from edgelr.devices import Stopwatch, kernel_times, open_session
from edgelr.errors import BadInputError
from edgelr.latency.op_times import OpTimes

_WARM_UP = 10
# What ONNX Runtime appends to the names of nodes that it rebuilt: for int8 kernels, and for its blocked float layout.
_RENAMED = re.compile(r"(_token_\d+|_nchwc)+$")
_GRID_OPS = {"QuantizeLinear", "DequantizeLinear"}


def ort_op_times(data: bytes, *, threads: int = 1, runs: int = 50) -> OpTimes:
    """Microseconds of each node of an ``.onnx`` file, by its name, at batch 1.

    Kernel times of profiled runs, scaled so that they add up to the whole file's time without profiling (profiling itself costs up to
    60 % on small networks). Profiled and plain runs alternate. A QuantizeLinear or DequantizeLinear has a row only where a kernel is
    left of it. Kernels of nodes that ONNX Runtime put in (Transpose, ReorderOutput) are ``other_us``. A kernel's time is the mean of
    the middle half of its runs: ONNX Runtime writes whole microseconds, and a median of those is too coarse for small kernels.
    """
    session, watch = open_session(data, "onnx", threads), Stopwatch(threads)
    for _ in range(_WARM_UP):
        session.invoke()
    whole: list[float] = []
    kernels = kernel_times(data, threads=threads, runs=runs, warm_up=_WARM_UP, between=_plain_run(session.invoke, watch, whole))
    session.close()
    return by_node(data, kernels, median(whole) * 1e6, threads)


def by_node(data: bytes, kernels: Mapping[str, Sequence[float]], whole_us: float, threads: int) -> OpTimes:
    """The times of ONNX Runtime's kernels in us, by the nodes of the file that they were made of, scaled to add up to the whole."""
    rows, owner = _names(data)
    us, other_us = dict.fromkeys(rows, 0.0), 0.0
    for kernel, times in kernels.items():
        node = owner.get(kernel) or owner.get(_RENAMED.sub("", kernel))
        if node is None:
            other_us += _middle(times)
        else:
            us[node] = us.get(node, 0.0) + _middle(times)
    scale = whole_us / (sum(us.values()) + other_us)
    return OpTimes("onnxruntime", threads, {node: value * scale for node, value in us.items()}, other_us * scale, whole_us)


def _plain_run(invoke: Callable[[], None], watch: Stopwatch, seconds: list[float]) -> Callable[[], None]:
    def run() -> None:
        invoke()
        seconds.append(watch.seconds(invoke))

    return run


def _middle(times: Sequence[float]) -> float:
    ordered = np.sort(times)
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean())


def _names(data: bytes) -> tuple[list[str], dict[str, str]]:
    """The nodes that get a row in any case, and the node that each name of a node or of an output belongs to."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        nodes = onnx.load_from_string(data).graph.node
    except DecodeError as error:
        raise BadInputError("This isn't an .onnx file.", str(error)) from error
    owner: dict[str, str] = {}
    for node in nodes:
        owner.update(dict.fromkeys(node.output, node.name or node.output[0]))
    owner.update({node.name: node.name for node in nodes if node.name})
    return [node.name or node.output[0] for node in nodes if node.op_type not in _GRID_OPS], owner
