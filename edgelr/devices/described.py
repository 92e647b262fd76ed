"""What a device is, as it told itself."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelr.devices.answers import Answer
from edgelr.devices.quoting import shown
from edgelr.errors import DeviceError

# Implementer and part of the main identification register: Linux, arch/arm64/include/asm/cputype.h. Qualcomm's are Arm's cores renamed.
_CORES = {
    (0x41, 0xD03): "cortex-a53", (0x41, 0xD04): "cortex-a35", (0x41, 0xD05): "cortex-a55", (0x41, 0xD07): "cortex-a57",
    (0x41, 0xD08): "cortex-a72", (0x41, 0xD09): "cortex-a73", (0x41, 0xD0A): "cortex-a75", (0x41, 0xD0B): "cortex-a76",
    (0x41, 0xD0C): "neoverse-n1", (0x41, 0xD0D): "cortex-a77", (0x41, 0xD40): "neoverse-v1", (0x41, 0xD41): "cortex-a78",
    (0x41, 0xD44): "cortex-x1", (0x41, 0xD46): "cortex-a510", (0x41, 0xD47): "cortex-a710", (0x41, 0xD48): "cortex-x2",
    (0x41, 0xD49): "neoverse-n2", (0x41, 0xD4B): "cortex-a78c", (0x41, 0xD4D): "cortex-a715", (0x41, 0xD4E): "cortex-x3",
    (0x41, 0xD80): "cortex-a520", (0x41, 0xD81): "cortex-a720", (0x41, 0xD82): "cortex-x4", (0x41, 0xC07): "cortex-a7",
    (0x51, 0x800): "cortex-a73", (0x51, 0x801): "cortex-a53", (0x51, 0x802): "cortex-a75", (0x51, 0x803): "cortex-a55",
    (0x51, 0x804): "cortex-a76", (0x51, 0x805): "cortex-a55",
}  # fmt: skip

# Seen on QEMU 7.2's board "virt" (Linux, Documentation/devicetree/bindings/arm/linux,dummy-virt.yaml and firmware/qemu,fw-cfg-mmio.yaml);
# by QEMU's hw/arm/virt.c and target/i386/cpu.c; by Android's emulator.
_EMULATORS = ("linux,dummy-virt", "fw-cfg", "QEMU Virtual Machine", "QEMU TCG CPU", "ro.kernel.qemu", "ro.boot.qemu")
_VIRTUAL = "KVM Virtual Machine"  # also by hw/arm/virt.c: programs run on the processor itself


@dataclass(frozen=True)
class Cpu:
    """One processor. ``core`` is Arm's name of it, or what /proc/cpuinfo calls it; 0 for a clock or capacity that isn't told."""

    number: int
    core: str
    max_mhz: float
    capacity: float


@dataclass(frozen=True)
class Described:
    """``board`` is the model's name where the system tells it. ``runtimes``: the version by "litert" and "onnxruntime", ``packages`` the
    package it is from ("ai-edge-litert", "tflite-runtime"); only those that the device's Python has. ``pinned``: where files run.
    ``signs``: what device tree, firmware and Android say of its make."""

    board: str
    machine: str
    system: str
    python: str
    cpus: tuple[Cpu, ...]
    flags: tuple[str, ...]
    memory_bytes: int
    runtimes: Mapping[str, str]
    packages: Mapping[str, str]
    pinned: tuple[int, ...]
    signs: tuple[str, ...] = ()

    @property
    def emulator(self) -> str:
        """The sign by which it isn't a device but a program that acts as one; "" where there is none.

        QEMU's models of real boards are given those boards' own device trees, and show no sign. Nor can a virtual board without firmware
        be told from an emulated one: neither has a device's times.
        """
        told = (*self.signs, *(cpu.core for cpu in self.cpus))
        if any(_VIRTUAL in sign for sign in told):
            return ""
        return next((sign for sign in told if any(word in sign for word in _EMULATORS)), "")

    @property
    def core(self) -> str:
        """The core that files run on; more than one kind joined by "+"."""
        kinds = dict.fromkeys(cpu.core for cpu in self.cpus if cpu.number in self.pinned or not self.pinned)
        return "+".join(kinds) or self.machine

    @property
    def name(self) -> str:
        """The device in a few words: "Raspberry Pi 4 Model B Rev 1.4 (4 x cortex-a72)"."""
        kinds = dict.fromkeys(cpu.core for cpu in self.cpus)
        cores = ", ".join(f"{sum(c.core == kind for c in self.cpus)} x {kind}" for kind in kinds)
        return f"{self.board} ({cores})" if self.board and cores else self.board or cores or self.machine

    def conditions(self, runtime: str) -> dict[str, str]:
        """What a measurement there rests on, in words: package and version, and the processors it ran on."""
        package = " ".join(filter(None, (self.packages.get(runtime, runtime), self.runtimes.get(runtime, ""))))
        return {"runtime": package, "processors": f"{', '.join(map(str, self.pinned))} ({self.core})", "system": self.system}


def described(answer: Answer) -> Described:
    """From the line "host". Raises ``DeviceError`` if it can't be one."""
    runtimes = answer.values.get("runtimes")
    pairs = {shown(str(name), 40): (shown(str(v[0]), 60), shown(str(v[1]), 40)) for name, v in _pairs(runtimes)}
    return Described(
        answer.text("board", 120),
        answer.text("machine", 40),
        answer.text("system", 120),
        answer.text("python", 40),
        tuple(_cpu(Answer("cpu", cpu)) for cpu in answer.items("cpus")[:256] if isinstance(cpu, dict)),
        tuple(shown(str(flag), 30) for flag in answer.items("flags")[:400]),
        int(answer.number("memory_bytes")),
        {name: version for name, (_, version) in pairs.items()},
        {name: package for name, (package, _) in pairs.items()},
        tuple(int(n) for n in answer.numbers("pinned")[:256]),
        tuple(shown(str(sign), 60) for sign in answer.items("signs")[:32]),
    )


def _pairs(runtimes: object) -> list[tuple[str, list[Any]]]:
    if not isinstance(runtimes, dict) or not all(isinstance(v, list) and len(v) == 2 for v in runtimes.values()) or len(runtimes) > 8:
        raise DeviceError("What the device answered can't be read.", "its runtimes aren't told as they should be.")
    return list(runtimes.items())


def _cpu(cpu: Answer) -> Cpu:
    try:
        core = _CORES.get((int(cpu.text("implementer"), 16), int(cpu.text("part"), 16)), "")
    except ValueError:
        core = ""
    told = cpu.text("model", 80) or "-".join(filter(None, (cpu.text("implementer", 20), cpu.text("part", 20))))
    return Cpu(int(cpu.number("cpu")), core or told or "unknown", cpu.number("max_mhz"), cpu.number("capacity"))
