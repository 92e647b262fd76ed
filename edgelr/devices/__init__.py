"""Devices: the only room that touches the outside world. Targets, sessions of the runtimes, measuring, and isolation."""
from edgelr.devices.described import Cpu, Described
from edgelr.devices.device import Device
from edgelr.devices.harness.clock import Stopwatch
from edgelr.devices.harness.runtimes import kernel_times
from edgelr.devices.host import describe_host, meant, open_session, saturates
from edgelr.devices.isolate import run_isolated
from edgelr.devices.measure import Measurement, measure
from edgelr.devices.row_times import KernelTimes, RowTimes
from edgelr.devices.session import Session
from edgelr.devices.statistics import Spread, spread
from edgelr.devices.targets import Fact, Runtime, Target, list_targets, load_target

__all__ = [
    "Cpu",
    "Described",
    "Device",
    "Fact",
    "KernelTimes",
    "Measurement",
    "RowTimes",
    "Runtime",
    "Session",
    "Spread",
    "Stopwatch",
    "Target",
    "describe_host",
    "kernel_times",
    "list_targets",
    "load_target",
    "meant",
    "measure",
    "open_session",
    "run_isolated",
    "saturates",
    "spread",
]
