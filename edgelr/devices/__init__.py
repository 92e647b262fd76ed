"""Devices: the only room that touches the outside world. Targets, sessions of the runtimes, measuring, and isolation."""
from edgelr.devices.clock import Stopwatch
from edgelr.devices.host import describe_host, open_session, saturates
from edgelr.devices.isolate import run_isolated
from edgelr.devices.measure import Measurement, measure
from edgelr.devices.ort import kernel_times
from edgelr.devices.session import Session
from edgelr.devices.statistics import Spread, spread
from edgelr.devices.targets import Fact, Runtime, Target, list_targets, load_target

__all__ = [
    "Fact",
    "Measurement",
    "Runtime",
    "Session",
    "Spread",
    "Stopwatch",
    "Target",
    "describe_host",
    "kernel_times",
    "list_targets",
    "load_target",
    "measure",
    "open_session",
    "run_isolated",
    "saturates",
    "spread",
]
