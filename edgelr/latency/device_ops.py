"""Op by op on a device that is attached: what each operation of a file takes there."""
from __future__ import annotations

from statistics import median

from edgelr.devices import Device
from edgelr.latency.alone import alone_at, times_alone
from edgelr.latency.cut import Cut, cut_operators
from edgelr.latency.op_times import OpTimes
from edgelr.latency.ort_ops import by_node
from edgelr.vocabulary import Format


def device_op_times(device: Device, data: bytes, format: Format, *, threads: int = 1) -> OpTimes:
    """Microseconds of each operation of a file on ``device``, by its name, scaled so that they add up to the whole file there.

    ONNX Runtime profiles its own kernels; of a ``.tflite`` file each operation is measured as a file of its own, the cost of a call taken
    off. Raises what ``cut_operators`` and the device's ``measure``, ``rows`` and ``kernels`` raise.
    """
    if format == "onnx":
        kernels = device.kernels(data, threads=threads)
        return by_node(data, kernels, median(kernels.whole_us), threads)
    cuts = list(cut_operators(data, format))
    whole_us = device.measure({"whole": data}, runtime="litert", threads=threads, rounds=20, min_seconds=0.3)["whole"].median * 1e3
    us = _rows(device, cuts, format, threads)
    named: dict[str, float] = {}
    for cut, each in zip(cuts, us, strict=True):
        named[cut.name] = named.get(cut.name, 0.0) + each
    scale = whole_us / max(sum(named.values()), 1e-9)
    return OpTimes("litert", threads, {name: value * scale for name, value in named.items()}, 0.0, whole_us)


def _rows(device: Device, cuts: list[Cut], format: Format, threads: int) -> list[float]:
    """Of each cut; equal ones are measured once, and one that its runtime doesn't take alone counts nothing."""
    number = {key: str(i) for i, key in enumerate(dict.fromkeys(cut.key for cut in cuts))}
    alone = {number[cut.key]: cut for cut in reversed(cuts)}
    files = ((name, alone[name].data) for name in number.values())
    known: dict[str, float] = {}
    operations = {name: cut.operation for name, cut in alone.items()}
    for name, times in times_alone(device, operations, files, format, threads, refused=lambda name, why: known.update({name: 0.0})):
        known[name] = alone_at(times).us
    return [known[number[cut.key]] for cut in cuts]
