"""What an emulated board boots: Debian's arm64 kernel, and a root with Python, the runtimes and sshd, as one archive in memory."""
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile, rmtree

from cpio import Cpio

from edgelr.devices.sysroot import prepare, python, ready, unpack
from edgelr.errors import DeviceError

# The cloud kernel is the same source with fewer drivers: a third of the download, and all that QEMU's board needs.
PACKAGES = ("dash", "coreutils", "findutils", "util-linux", "mount", "kmod", "iproute2", "openssh-server", "linux-image-cloud-arm64")
MODULES = ("virtio_pci", "virtio_net")
USER = "board"
# Scripts of packages aren't run, so what they would make is made here; what nobody needs there stays out of its memory.
_WITHOUT = ("boot", "lib/modules", "usr/share", "var", "usr/lib/aarch64-linux-gnu/perl*", "usr/lib/udev", "usr/include", "usr/bin/perl*")
_SSHD = """
Port 22
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
AllowUsers {user}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
"""
_USERS = "root:*:0:0::/root:/bin/sh\nsshd:*:100:65534::/run/sshd:/bin/false\n{user}:*:1000:1000::/home/{user}:/bin/sh\n"
_GROUPS = "root:*:0:\nnogroup:*:65534:\n{user}:*:1000:\n"
_INIT = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in {modules}; do insmod "/modules/$module.ko"; done
n=0; until [ -e /sys/class/net/eth0 ] || [ "$n" -ge 30 ]; do sleep 1; n=$((n + 1)); done
echo board >/proc/sys/kernel/hostname; ip link set lo up; ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0
chown -R {user}:{user} /home/{user}; mkdir -p /run/sshd; chmod 755 /; chmod 1777 /tmp
echo "booted after $(cut -d' ' -f1 /proc/uptime) s: $(uname -mr)"
exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
"""


def build(folder: Path, tell: Callable[[str], None]) -> None:
    """Make ``folder`` hold ``kernel`` and ``root.cpio``: about 150 MB of downloads from Debian and PyPI, no rights needed. Kept if there.

    ``tell`` gets a line before each long step. Raises ``DeviceError`` where a part can't be had.
    """
    if built(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder / "emulator", tell)
    tell("Debian's arm64 kernel and sshd: downloading and unpacking")
    for old in ("apt", "root"):
        rmtree(folder / old, ignore_errors=True)
    unpack(folder / "apt", folder / "root", PACKAGES)
    rmtree(folder / "apt")
    tell("packing")
    kernels = sorted((folder / "root/boot").glob("vmlinuz-*"))
    if not kernels:
        raise DeviceError("There is no kernel for the board.", f"{folder / 'root/boot'} has none.", "remove the folder, and build again.")
    with (folder / "unfinished").open("wb") as stream:
        _pack(folder, Cpio(stream))
    copyfile(kernels[-1], folder / "kernel")
    (folder / "unfinished").rename(folder / "root.cpio")


def built(folder: Path) -> bool:
    """Whether ``build`` has come to its end there, with the wheels of this version."""
    return (folder / "kernel").is_file() and (folder / "root.cpio").is_file() and ready(folder / "emulator")


def _pack(folder: Path, root: Cpio) -> None:
    modules = _ordered(folder / "root/lib/modules")
    for path in modules:
        root.path(path, f"modules/{path.name}")
    for name in ("proc", "sys", "dev", "tmp", "run", f"home/{USER}"):
        root.folder(name)
    root.text("init", _INIT.format(user=USER, modules=" ".join(path.stem for path in modules)), 0o755)
    root.text("etc/ssh/sshd_config", _SSHD.format(user=USER))
    root.text("etc/passwd", _USERS.format(user=USER))
    root.text("etc/group", _GROUPS.format(user=USER))
    emulator = folder / "emulator"
    for tree in (emulator / "root", folder / "root"):
        root.tree(tree, without=_WITHOUT)
    root.tree(emulator / "wheels", f"usr/local/lib/{python(emulator).name}/dist-packages/", without=("bin",))
    root.end()


def _ordered(folder: Path) -> list[Path]:
    """The files of ``MODULES`` and of what they need, in the order in which they can be loaded."""
    files = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        needed = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
        for other in needed[1].decode().split(",") if needed and needed[1] else ():
            add(other.replace("-", "_"))
        if files[name] not in order:
            order.append(files[name])

    for name in MODULES:
        add(name)
    return order
