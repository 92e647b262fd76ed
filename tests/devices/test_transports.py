"""A device is reached the same way by all transports: commands, files, a folder of its own, and nothing left when it is over."""
from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from adbd_sample import Adbd
from endpoint_sample import Endpoint, answers, free_port, needs, runs, wait_for
from sshd_sample import Sshd

from edgelr.devices import shell
from edgelr.devices.attach import open_transport
from edgelr.devices.ssh import SshTransport
from edgelr.devices.ssh_address import SshAddress, parse_ssh_address
from edgelr.devices.transport import Ran, Transport
from edgelr.errors import DeviceError, UsageError

pytest_plugins = ("attached_sample",)
EVERY_BYTE = bytes(range(256))


@pytest.fixture
def link(device: Endpoint) -> Iterator[Transport]:
    with closing(open_transport(device.address)) as transport:
        yield transport


def test_a_command_gets_its_words_and_its_input_and_gives_its_code_and_its_streams(link: Transport) -> None:
    words = ["a b", "$(x)", "'", '"', "", "*", "\\", "é\n"]
    ran = link.run(["printf", "%s|", *words])
    assert (ran.code, ran.out.decode(), ran.err) == (0, "a b|$(x)|'|\"||*|\\|é\n|", b"")
    assert link.run(["cat"], stdin=EVERY_BYTE * 1000).out == EVERY_BYTE * 1000
    assert link.run(["cat"]).out == b""
    ran = link.run(["sh", "-c", "echo told >&2; exit 7"])
    assert (ran.code, ran.out, ran.err) == (7, b"", b"told\n")
    for code in (1, 255):  # what the clients themselves give for a lost link
        assert link.run(["sh", "-c", f"exit {code}"]).code == code
    assert link.run(["no-such-program"]).code == 127


def test_lines_come_while_the_command_runs(link: Transport, device: Endpoint) -> None:
    lines = link.lines(["sh", "-c", f"echo one; while [ ! -e {device.root}/home/go ]; do sleep 0.05; done; echo; printf three"], seconds=20)
    assert next(lines) == b"one"
    (device.root / "home" / "go").touch()
    assert list(lines) == [b"", b"three"]
    (device.root / "home" / "go").unlink()


def test_a_command_that_fails_gives_its_lines_first_and_then_its_reason(link: Transport) -> None:
    got = []
    with pytest.raises(DeviceError, match=r"(?s)code 3.*no such thing") as error:
        for line in link.lines(["sh", "-c", "echo one; echo no such thing >&2; exit 3"], seconds=20):
            got.append(line)
    assert got == [b"one"] and error.value.exit_code == 6


def test_a_caller_that_stops_reading_ends_the_command_and_its_children(link: Transport) -> None:
    seconds = f"{random.SystemRandom().randint(10**6, 10**7)}.25"
    lines = link.lines(["sh", "-c", f"sleep {seconds} & sleep {seconds} & echo started; wait"], seconds=60)
    assert next(lines) == b"started" and runs(seconds)
    lines.close()  # type: ignore[attr-defined]
    wait_for(lambda: not runs(seconds))


def test_what_a_command_leaves_behind_neither_holds_us_up_nor_stays(link: Transport) -> None:
    seconds = f"{random.SystemRandom().randint(10**6, 10**7)}.25"
    start = time.monotonic()
    assert link.run(["sh", "-c", f"sleep {seconds} & echo done"]).out == b"done\n"
    assert time.monotonic() - start < 5
    wait_for(lambda: not runs(seconds))


def test_files_arrive_whole_in_a_folder_that_is_ours_alone_and_is_removed(device: Endpoint) -> None:
    data = random.Random(0).randbytes(1_000_000) + EVERY_BYTE
    with closing(open_transport(device.address)) as link:
        assert device.folders() == []
        path = Path(link.put(data, "net.tflite"))
        assert path.read_bytes() == data == link.get(str(path)) and str(path.parent) == link.folder
        assert Path(link.put(b"", "empty")).read_bytes() == b""
        assert path.parent.stat().st_mode & 0o777 == 0o700 and path.stat().st_mode & 0o777 == 0o600
        assert device.folders() == [path.parent.name]
    assert device.folders() == []
    link.close()  # twice does no harm


def test_a_file_that_is_absent_or_too_large_is_not_got(link: Transport, device: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="No such file"):
        link.get("/nowhere/at all")
    monkeypatch.setattr(shell, "GET_LIMIT_BYTES", 1000)
    assert len(link.get(link.put(b"x" * 1000, "just"))) == 1000
    with pytest.raises(DeviceError, match="more than"):
        link.get(link.put(b"x" * 1001, "more"))


def test_a_folder_that_vanishes_is_told(link: Transport) -> None:
    link.run(["rm", "-rf", link.folder])
    with pytest.raises(DeviceError, match="can't be written"):
        link.put(b"x", "x")


KILLED = """
import sys
from edgelr.devices.attach import open_transport
link = open_transport(sys.argv[1])
link.put(b"x", "x")
for line in link.lines(["sh", "-c", "echo started; sleep " + sys.argv[2]], seconds=100):
    print(link.folder, flush=True)
"""


def test_of_a_killed_session_the_command_ends_at_once_and_the_next_session_removes_its_folder(device: Endpoint, root: Path) -> None:
    seconds = f"{random.SystemRandom().randint(10**6, 10**7)}.25"
    tmp = device.root / "tmp"
    other, old, hers = (tmp / name for name in ("edgelr.00000000.1.aaaaaaaa", "edgelr.00000000.1.bbbbbbbb", "edgelr-hers"))
    for folder in (other, old, hers):
        folder.mkdir()
        (folder / "file").touch()
    (tmp / "edgelr.00000000.1.cccccccc").symlink_to(hers)
    for folder in (old, hers):
        os.utime(folder, (time.time() - 3 * 86400,) * 2)
    env = {**os.environ, "PYTHONPATH": str(root)}
    argv = [sys.executable, "-c", KILLED, device.address, seconds]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=env, text=True) as session:
        assert session.stdout is not None
        folder = Path(session.stdout.readline().strip())
        assert (folder / "x").is_file() and runs(seconds)
        session.kill()
    wait_for(lambda: not runs(seconds))
    assert folder.is_dir() and not old.exists() and other.exists()
    with closing(open_transport(device.address)) as link:
        assert Path(link.folder).is_dir() and not folder.exists()
    assert (hers / "file").exists() and (other / "file").exists() and (tmp / "edgelr.00000000.1.cccccccc").is_symlink()
    (tmp / "edgelr.00000000.1.cccccccc").unlink()
    subprocess.run(["rm", "-rf", str(other), str(hers)], check=True)


def test_python_is_looked_for_and_what_it_lacks_is_named(device: Endpoint) -> None:
    device.program("python3", f'exec {sys.executable} "$@"')
    with closing(open_transport(device.address)) as link:
        python = link.python(["json", "numpy"])
        assert link.run([*python, "-c", "import numpy; print(6 * 7)"]).out == b"42\n"
        with pytest.raises(DeviceError, match=r"(?s)lacks no_such, tflite_runtimes?.*install.* no_such tflite_runtimes") as error:
            link.python(["json", "no_such", "tflite_runtimes"])
        assert error.value.exit_code == 6


def test_a_named_python_is_the_only_one_that_is_used(device: Endpoint) -> None:
    device.program("my python", f'exec {sys.executable} "$@"')
    device.program("old", "echo '[[3, 7], []]'")
    device.program("liar", "echo '[[[[[['")
    folder = f"{device.root}/bin"
    with closing(open_transport(f"{device.address}?python={folder}/my%20python")) as link:
        assert link.python(["json"]) == [f"{folder}/my python"]
    for name, told in (("old", r"version 3\.7"), ("liar", "no Python"), ("absent", "looked for")):
        with closing(open_transport(f"{device.address}?python={folder}/{name}")) as link, pytest.raises(DeviceError, match=told):
            link.python(["json"])


def test_python_beside_the_systems_own_goes_first(sshd: Sshd) -> None:
    file = sshd.root / "home" / ".edgelr" / "bin" / "python"
    file.parent.mkdir(parents=True)
    file.symlink_to(sys.executable)
    with closing(open_transport(sshd.address)) as link:
        assert link.python(["json"]) == [str(file)]
    subprocess.run(["rm", "-rf", str(sshd.root / "home" / ".edgelr")], check=True)


def test_unknown_ways_are_refused() -> None:
    for address in ("", "here", "telnet://host", "pi@192.0.2.7", "ssh", "ssh:host", "adb", "adb:", "local:x", "local?user=x"):
        with pytest.raises(UsageError):
            open_transport(address)


# ssh


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("ssh://board", SshAddress("board")),
        ("ssh://pi@192.0.2.7/", SshAddress("192.0.2.7", "pi")),
        ("ssh://a.b-c_d@my-board.local:2222?python=/opt/my%20python", SshAddress("my-board.local", "a.b-c_d", 2222, "/opt/my python")),
        ("ssh://root@[fe80::1%eth0]:8022?python=python3.11", SshAddress("fe80::1%eth0", "root", 8022, "python3.11")),
        (f"ssh://pi@h?host-key=SHA256:{'a+/' * 14}a&python=/p", SshAddress("h", "pi", 0, "/p", f"SHA256:{'a+/' * 14}a")),
    ],
)
def test_an_ssh_address_is_read(address: str, read: SshAddress) -> None:
    assert parse_ssh_address(address) == read


def test_an_ssh_address_of_no_host_is_refused() -> None:
    wrong = ("ssh://", "ssh://@h", "ssh://h:", "ssh://h:0", "ssh://h:65536", "ssh://h:22:22", "ssh://h/path", "ssh://[::1", "ssh://-h", "ssh://h?python=bin/p")
    for address in (*wrong, "ssh://h?host-key=MD5:00", "ssh://h?python=/a&python=/b", "ssh://h?", "ssh://h?python=%ff", "ssh://h?python=%00"):
        with pytest.raises(UsageError):
            parse_ssh_address(address)


def test_ssh_logs_in_once_for_all_commands_and_leaves_no_connection(sshd: Sshd) -> None:
    before = sshd.log.read_text().count("Accepted publickey")
    with closing(SshTransport(sshd.address)) as link:
        for _ in range(5):
            assert link.run(["true"]).code == 0
        private = link._private
        assert sshd.log.read_text().count("Accepted publickey") == before + 1 and private.stat().st_mode & 0o777 == 0o700
    assert not private.exists()
    wait_for(lambda: not runs(str(private)))


def test_ssh_connects_again_where_the_connection_ended_while_nothing_was_to_be_done(sshd: Sshd) -> None:
    with closing(SshTransport(sshd.address)) as link:
        folder = link.folder
        sshd.cut()
        wait_for(lambda: not link._socket.exists())
        assert link.run(["test", "-d", folder]).code == 0


def test_a_users_configuration_finds_the_host_and_cannot_weaken_it(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    careless = (
        f"\nHost board\n  HostName 127.0.0.1\n  Port {sshd.port}\nHost *\n  StrictHostKeyChecking no\n"
        "  NoHostAuthenticationForLocalhost yes\n"
        "  ForwardAgent yes\n  ForwardX11 yes\n  BatchMode no\n  PermitLocalCommand yes\n  LocalCommand touch canary\n"
        "  RemoteForward 4321 127.0.0.1:22\n  VerifyHostKeyDNS yes\n  UpdateHostKeys yes\n  RequestTTY force\n"
    )
    config = tmp_path / "config"
    config.write_text(sshd.config.read_text() + careless)
    monkeypatch.setenv("EDGELR_SSH_CONFIG", str(config))
    with closing(open_transport("ssh://board")) as link:
        assert link.run(["echo", "hello"]).out == b"hello\n"
        asked = subprocess.run([*link._command(), "-G", "board"], capture_output=True, text=True, check=True).stdout.splitlines()  # type: ignore[attr-defined]
    assert {"forwardagent no", "forwardx11 no", "batchmode yes", "permitlocalcommand no", "clearallforwardings yes"} <= set(asked)
    assert {"stricthostkeychecking true", "verifyhostkeydns false", "updatehostkeys false", "requesttty false"} <= set(asked)
    (sshd.root / "known_hosts").write_text("")
    with pytest.raises(DeviceError, match="UNKNOWN"):
        open_transport("ssh://board")
    assert not (tmp_path / "canary").exists() and (sshd.root / "known_hosts").read_text() == ""


def test_ssh_tells_why_a_host_cannot_be_reached(sshd: Sshd) -> None:
    with pytest.raises(DeviceError, match=r"(?s)can't be reached.*refused"):
        open_transport(f"ssh://127.0.0.1:{free_port()}")
    sshd.new_key("id")
    (sshd.root / "id.pub").write_text("")
    with pytest.raises(DeviceError, match=r"(?s)doesn't let you in.*ssh-copy-id -p"):
        open_transport(sshd.address)
    sshd.new_key("id")


# adb


def test_adb_starts_no_server_and_says_how_to(adbd: Adbd, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    with pytest.raises(DeviceError, match=r"(?s)isn't running.*adb devices"):
        open_transport(adbd.address)
    assert not answers(port)


def test_adb_does_not_end_a_server_of_another_version(adbd: Adbd, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as client:
            asked.append(client.recv(100))
            client.sendall(b"OKAY00040020")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(listener.getsockname()[1]))
        with pytest.raises(DeviceError, match="server is version 32"):
            open_transport(adbd.address)
        thread.join()
    assert asked == [b"000chost:version"]


def test_adb_works_with_the_shell_and_the_tools_that_android_has(adbd: Adbd) -> None:
    """mksh and toybox: both are programs of Debian's too, so at least these are the phone's own."""
    needs("mksh", "toybox")
    adbd.program("sh", f'exec {shutil.which("mksh")} "$@"')
    for name in ("cat", "find", "id", "mktemp", "printf", "rm", "setsid", "sha256sum"):
        adbd.program(name, f'exec {shutil.which("toybox")} {name} "$@"')
    old = adbd.root / "tmp" / "edgelr.00000000.1.aaaaaaaa"
    old.mkdir()
    os.utime(old, (time.time() - 3 * 86400,) * 2)
    seconds = f"{random.SystemRandom().randint(10**6, 10**7)}.25"
    with closing(open_transport(adbd.address)) as link:
        path = Path(link.put(EVERY_BYTE * 1000, "it's a $(net)"))
        assert path.read_bytes() == link.get(str(path)) == EVERY_BYTE * 1000 and [path.parent.name] == adbd.folders()
        lines = link.lines(["sh", "-c", f"sleep {seconds} & echo started; wait"], seconds=20)
        assert next(lines) == b"started"
        lines.close()  # type: ignore[attr-defined]
        wait_for(lambda: not runs(seconds))
        assert link.run(["sh", "-c", f"sleep {seconds} & echo told >&2; exit 7"]) == Ran(7, b"", b"told\n")
        wait_for(lambda: not runs(seconds))
    assert adbd.folders() == []


def test_adb_tells_that_a_device_is_not_there(adbd: Adbd) -> None:
    with pytest.raises(DeviceError, match="doesn't see it") as error:
        open_transport("adb:NOT-THERE")
    assert error.value.exit_code == 6


def test_an_interrupt_ends_the_command_there(device: Endpoint, root: Path) -> None:
    """Ctrl-C reaches us, not the command's own session."""
    seconds = f"{random.SystemRandom().randint(10**6, 10**7)}.25"
    env = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, device.address, seconds], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True
    ) as session:
        assert session.stdout is not None and session.stdout.readline()
        session.send_signal(signal.SIGINT)
        assert session.wait(10) != 0
    wait_for(lambda: not runs(seconds))
    with closing(open_transport(device.address)) as link:
        assert [Path(link.folder).name] == device.folders()
