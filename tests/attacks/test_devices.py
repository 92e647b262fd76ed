"""A device, its name and its link can be hostile or broken: nothing of ours runs where it shouldn't, and we neither hang nor drown."""
from __future__ import annotations

import random
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from endpoint_sample import Endpoint, runs, wait_for
from sshd_sample import Sshd

from edgelr.devices import child
from edgelr.devices.attach import open_transport
from edgelr.devices.transport import OUTPUT_LIMIT_BYTES, Transport
from edgelr.errors import DeviceError, EdgelrError, UsageError

pytest_plugins = ("attached_sample",)
CANARY = "edgelr-canary"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER"  # thirty-two times 0x11
NASTY = (
    f";touch {CANARY}", f"$(touch {CANARY})", f"`touch {CANARY}`", f"x\ntouch {CANARY}\n", f"-oProxyCommand=touch {CANARY}",
    "two  spaces", f"'; touch {CANARY}; '", f'"; touch {CANARY}; "', "\u202etxt.\u202cexe", "x" * 300, f"& touch {CANARY} | cat", "*%n\\",
)  # fmt: skip


@pytest.fixture
def link(device: Endpoint) -> Iterator[Transport]:
    with closing(open_transport(device.address)) as transport:
        yield transport


def canaries(device: Endpoint) -> list[Path]:
    places = {Path.cwd(), device.root, Path.home(), Path("/tmp"), Path("/")}  # noqa: S108 (only looked into)
    return sorted({file for place in places for file in (*place.glob(CANARY), *place.glob(f"*/{CANARY}"))})


def assert_told(error: EdgelrError) -> None:
    """What reaches a terminal is printable, and short."""
    assert all(c.isprintable() or c == "\n" for c in str(error)) and "\u202e" not in str(error) and len(str(error)) < 2000


# Host keys (T32)


def nothing_was_sent(sshd: Sshd, address: str = "") -> DeviceError:
    """The refusal; the daemon's log shows a stranger that left before it even gave its name."""
    start = len(sshd.log.read_text())
    with pytest.raises(DeviceError) as refused:
        open_transport(address or sshd.address)
    wait_for(lambda: "Connection closed by" in sshd.log.read_text()[start:] or "Connection reset" in sshd.log.read_text()[start:])
    said = sshd.log.read_text()[start:]
    assert "Accepted" not in said and "authenticating user" not in said and "Postponed" not in said
    assert refused.value.exit_code == 6 and "Nothing was sent" in refused.value.what
    return refused.value


def test_an_unknown_host_key_is_refused_and_not_added(sshd: Sshd) -> None:
    (sshd.root / "known_hosts").write_text("")
    error = nothing_was_sent(sshd)
    assert error.what.startswith("UNKNOWN") and f"ssh-keyscan -p {sshd.port} 127.0.0.1 | ssh-keygen -lf -" in error.try_
    assert (sshd.root / "known_hosts").read_text() == ""


def test_a_changed_host_key_is_refused_loudly(sshd: Sshd) -> None:
    sshd.know(OTHER_KEY)
    before = (sshd.root / "known_hosts").read_text()
    error = nothing_was_sent(sshd)
    assert error.what.startswith("CHANGED") and "ssh-keygen -R" in error.try_
    assert (sshd.root / "known_hosts").read_text() == before


def test_a_revoked_host_key_is_refused_loudly(sshd: Sshd) -> None:
    sshd.know(mark="@revoked")
    assert nothing_was_sent(sshd).what.startswith("REVOKED")


def test_a_host_key_is_accepted_by_its_fingerprint_for_this_session_only(sshd: Sshd) -> None:
    (sshd.root / "known_hosts").write_text("")
    with closing(open_transport(f"{sshd.address}?host-key={sshd.fingerprint()}")) as link:
        assert link.run(["echo", "hello"]).out == b"hello\n"
    assert (sshd.root / "known_hosts").read_text() == ""
    assert nothing_was_sent(sshd).what.startswith("UNKNOWN")


def test_a_fingerprint_that_the_host_does_not_show_is_refused(sshd: Sshd) -> None:
    (sshd.root / "known_hosts").write_text("")
    error = nothing_was_sent(sshd, f"{sshd.address}?host-key=SHA256:{'a' * 43}")
    assert error.what.startswith("WRONG KEY") and sshd.fingerprint() in error.why


def test_a_revoked_key_is_not_accepted_by_its_fingerprint_either(sshd: Sshd) -> None:
    sshd.know(mark="@revoked")
    assert nothing_was_sent(sshd, f"{sshd.address}?host-key={sshd.fingerprint()}").what.startswith("REVOKED")


# Names that try to run something (T33)


def test_the_canary_would_be_seen(link: Transport, device: Endpoint) -> None:
    assert canaries(device) == []
    link.run(["touch", CANARY])
    (found,) = canaries(device)
    found.unlink()


@pytest.mark.parametrize("scheme", ["ssh", "adb", "local"])
@pytest.mark.parametrize("nasty", NASTY, ids=range(len(NASTY)))
def test_a_nasty_address_is_refused(scheme: str, nasty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    forms = {
        "ssh": ("ssh://{}", "ssh://{}@127.0.0.1", "ssh://127.0.0.1:{}", "ssh://127.0.0.1/{}", "ssh://127.0.0.1?host-key={}", "ssh://h?{}=1"),
        "adb": ("adb:{}", "adb:-s{}", "adb:SERIAL {}", "adb:SERIAL?{}=x"),
        "local": ("local{}", "local:{}", "local?{}=x", "{}"),
    }
    for form in forms[scheme]:
        with pytest.raises(UsageError) as error:
            open_transport(form.format(nasty))
        assert_told(error.value)
    assert list(tmp_path.iterdir()) == []


def test_nasty_names_on_a_device_are_refused_or_taken_literally(device: Endpoint) -> None:
    with closing(open_transport(device.address)) as link:
        for nasty in NASTY:
            assert link.run(["printf", "%s", nasty]).out.decode() == nasty
            try:
                path = link.put(b"data", nasty)
                assert path == f"{link.folder}/{nasty}" and Path(path).read_bytes() == link.get(path) == b"data"
                Path(path).unlink()
            except UsageError as error:
                assert_told(error)
                assert [*Path(link.folder).iterdir()] == [] and ("\n" in nasty or len(nasty) > 200)
            with pytest.raises(DeviceError) as absent:
                link.get(f"/nowhere/{nasty}")
            assert_told(absent.value)
            assert canaries(device) == []
    assert device.folders() == []


@pytest.mark.parametrize("nasty", NASTY, ids=range(len(NASTY)))
def test_a_nasty_folder_or_python_there_is_refused_or_taken_literally(device: Endpoint, nasty: str) -> None:
    folder = device.root / "tmp" / nasty[:200]
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    device.set(TMPDIR=str(folder))
    try:
        with closing(open_transport(f"{device.address}?python={quote(f'{folder}/python')}")) as link:
            assert link.python(["json"]) == [f"{folder}/python"]
            assert Path(link.put(b"data", "name")).parent.parent == folder
        assert [file.name for file in folder.iterdir()] == ["python"]
    except (UsageError, DeviceError) as error:
        assert_told(error)
        assert "\n" in nasty
    assert canaries(device) == []
    shutil.rmtree(folder)


PASSWORDS = ("ssh://pi:s3cret@192.0.2.7", "ssh://pi:s3cret@x@192.0.2.7", "ssh://pi:s3@cret:s3cret@h", "ssh://:s3cret@h", "ssh://h?password=s3cret")


@pytest.mark.parametrize("address", PASSWORDS)
def test_a_password_is_refused_and_never_repeated(address: str) -> None:
    with pytest.raises(UsageError) as error:
        open_transport(address)
    assert "s3cret" not in str(error.value) + repr(error.value) + error.value.detail and "password" in str(error.value)


# A device that spews (T34)


def test_of_endless_output_a_megabyte_is_kept_and_a_bound_ends_it(link: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = link.run(["sh", "-c", "head -c 100000000 /dev/zero; head -c 3000000 /dev/zero >&2"])
    assert (ran.code, len(ran.out), len(ran.err)) == (0, OUTPUT_LIMIT_BYTES, OUTPUT_LIMIT_BYTES)
    monkeypatch.setattr(child, "OUTPUT_BOUND_BYTES", 20_000_000)
    for spew in ("yes spewing-on-stdout", "yes spewing-on-stderr >&2"):
        with pytest.raises(DeviceError, match="wrote more than"):
            link.run(["sh", "-c", spew])
        with pytest.raises(DeviceError, match="wrote more than"):
            for _ in link.lines(["sh", "-c", spew], seconds=60):
                pass
    wait_for(lambda: not runs("spewing-on-std"))


def test_a_line_that_never_ends_is_refused(link: Transport) -> None:
    with pytest.raises(DeviceError, match="a line of more than 1 MB"):
        list(link.lines(["sh", "-c", "head -c 3000000 /dev/zero"], seconds=60))


def test_what_a_device_says_reaches_a_terminal_escaped(link: Transport) -> None:
    with pytest.raises(DeviceError) as error:
        list(link.lines(["sh", "-c", r"printf '\033[2J\033]0;title\007\377\342\200\256txt\r\n' >&2; exit 3"], seconds=60))
    assert_told(error.value)
    assert r"\x1b[2J" in error.value.why and r"\xff" in error.value.why


@pytest.mark.parametrize("silent", [True, False])
def test_a_command_that_never_ends_is_stopped_there(link: Transport, silent: bool) -> None:
    word = f"{random.SystemRandom().randint(10**6, 10**7)}.5"
    command = f"sleep {word}" if silent else f"sleep {word} & while :; do echo x; sleep 0.05; done"
    start = time.monotonic()
    with pytest.raises(DeviceError, match="silent for longer" if silent else "took longer"):
        for _ in link.lines(["sh", "-c", command], seconds=60 if silent else 1, silent_seconds=1):
            pass
    assert time.monotonic() - start < 8
    wait_for(lambda: not runs(word))
    with pytest.raises(DeviceError, match="took longer"):
        link.run(["sleep", word], seconds=0.5)
    wait_for(lambda: not runs(word))


def test_a_command_that_closes_its_output_and_stays_is_stopped(link: Transport) -> None:
    word = f"{random.SystemRandom().randint(10**6, 10**7)}.5"
    with pytest.raises(DeviceError):
        list(link.lines(["sh", "-c", f"exec >&- 2>&-; sleep {word}"], seconds=2))
    wait_for(lambda: not runs(word))


LIES = ("/", "/etc", "", "../../etc", "/x/edgelr.x; rm -rf ~", "/x/edgelr.00000000.1.aaaaaaaa/../../etc", "\\033[2J")


@pytest.mark.parametrize("said", LIES)
def test_a_device_that_lies_about_the_folder_is_refused(device: Endpoint, said: str) -> None:
    device.program("mktemp", f"printf '%b\\n' '{said}'")
    device.program("rm", "touch removed")
    with closing(open_transport(device.address)) as link, pytest.raises(DeviceError, match="No folder can be made") as error:
        link.put(b"x", "x")
    assert_told(error.value)
    assert not (device.root / "home" / "removed").exists()


def test_only_leftovers_are_removed_whatever_the_device_lists(device: Endpoint) -> None:
    keep = device.root / "home" / "edgelr.00000000.1.aaaaaaaa"
    for folder in (keep, device.root / "tmp" / "hers"):
        folder.mkdir()
    tmp = device.root / "tmp"
    listed = (keep, tmp / "hers", tmp, f"{tmp}/../home/{keep.name}", f"{tmp}/../tmp", "/", "")
    device.program("find", "\n".join(f"echo 'old {path}'" for path in listed))
    with closing(open_transport(device.address)) as link:
        assert Path(link.folder).is_dir()
    assert keep.is_dir() and (device.root / "tmp" / "hers").is_dir()
    shutil.rmtree(keep)
    shutil.rmtree(device.root / "tmp" / "hers")


# What is put is what arrives (T35)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_flipped_byte_is_sent_again_once(device: Endpoint, times: int) -> None:
    flips = device.root / "flips"
    flips.write_text(str(times))
    device.program("cat", f"n=$(head -n 1 {flips}); echo $((n - 1)) >{flips}; if [ $n -gt 0 ]; then tr a b; else exec /bin/cat; fi")
    with closing(open_transport(device.address)) as link:
        data = b"x" * 100_000 + b"a"
        if times < 2:
            path = Path(link.put(data, "net"))
            assert path.read_bytes() == data and flips.read_text().strip() == "-1"
        else:
            with pytest.raises(DeviceError, match=r"(?s)damaged.*twice.*SHA-256") as error:
                link.put(data, "net")
            assert error.value.exit_code == 6 and list(Path(link.folder).iterdir()) == []


# The link is lost (T36)


@pytest.mark.parametrize("device", ["ssh", "adb"], indirect=True)  # this machine has no link to lose
def test_of_a_lost_link_all_whole_lines_are_kept_and_it_is_told_at_once(device: Endpoint) -> None:
    word = f"{random.SystemRandom().randint(10**6, 10**7)}.5"
    with closing(open_transport(device.address)) as link:
        for rows in range(10):
            got = []
            command = f"i=0; while [ $i -lt {rows} ]; do echo row $i; i=$((i+1)); done; printf half; echo end >&2; sleep {word}"
            with pytest.raises(DeviceError, match="was lost") as error:
                lines = link.lines(["sh", "-c", f"echo start; {command}"], seconds=60)
                assert next(lines) == b"start"
                wait_for(lambda: runs(f"sleep\0{word}"))
                device.cut()
                start = time.monotonic()
                for line in lines:
                    got.append(line)
            assert got[:rows] == [b"row %d" % row for row in range(rows)] and error.value.exit_code == 6
            assert time.monotonic() - start < 5
            wait_for(lambda: not runs(f"sleep\0{word}"))
            device.ready()
            assert link.run(["echo", "back"]).out == b"back\n"


@pytest.mark.parametrize("device", ["ssh", "adb"], indirect=True)  # this machine has no link to lose
def test_a_link_that_is_lost_while_a_file_is_put_is_told(device: Endpoint) -> None:
    device.program("cat", f"touch {device.root}/home/begun; sleep 3; exec /bin/cat")
    link = open_transport(device.address)
    cutter = threading.Thread(target=lambda: (wait_for((device.root / "home" / "begun").exists), device.cut()))
    cutter.start()
    with pytest.raises(DeviceError, match="was lost"):
        link.put(b"x" * 2_000_000, "net")
    cutter.join()
    device.ready()
    link.close()
    (device.root / "home" / "begun").unlink()
