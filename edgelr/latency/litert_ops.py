"""Prices of a ``.tflite`` file's operators on this machine, from single-operator cuts (LiteRT has no profiler in Python)."""
from __future__ import annotations

from collections.abc import Hashable
from statistics import median

from edgelr.devices import Session, Stopwatch, open_session
from edgelr.latency.gauges import gauge_files, own_us
from edgelr.latency.litert_cut import cut_operators
from edgelr.latency.op_times import OpTimes

_WARM_UP = 5


def litert_op_times(data: bytes, *, threads: int = 1, rounds: int = 50) -> OpTimes:
    """Microseconds of each operator of an int8 or float ``.tflite`` file, by the name of its first output tensor.

    Each operator is cut out into a file of its own, and the cost of a call is taken off. Operators that are equal are timed once. A
    round calls every operator once, in the order of the network, and the whole file: so weights come from the cache that they come
    from inside the network, and noise hits all alike. On a shared x86-64 machine (ai-edge-litert 2.3.0, one thread) the sum was
    1-10 % above the whole for ResNet-like networks of 0.2 to 11 ms, dense and factorised.
    """
    cuts = list(cut_operators(data, merged=True))
    sessions: dict[Hashable, Session] = {}
    for cut in cuts:
        if cut.key not in sessions:
            sessions[cut.key] = open_session(cut.data, "tflite", threads)
    gauges = {"whole": data, **gauge_files("tflite")}
    every = dict(sessions)
    every.update((name, open_session(file, "tflite", threads)) for name, file in gauges.items())
    watch = Stopwatch(threads)
    seconds: dict[Hashable, list[float]] = {key: [] for key in every}
    for run in range(_WARM_UP + rounds):
        for key, session in every.items():
            if key in gauges:
                session.invoke()
            spent = watch.seconds(session.invoke)
            if run >= _WARM_UP:
                seconds[key].append(spent)
    us = {key: median(values) * 1e6 for key, values in seconds.items()}
    for session in every.values():
        session.close()
    calls = {name: us[name] for name in gauges}
    named: dict[str, float] = {}
    for cut in cuts:
        named[cut.name] = named.get(cut.name, 0.0) + own_us(us[cut.key], calls)
    return OpTimes("litert", threads, named, 0.0, us["whole"])
