"""Fixtures of devices that are attached: ``device`` is each kind in turn. A test module asks for them with ``pytest_plugins``."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from adbd_sample import Adbd
from endpoint_sample import Endpoint, LocalEndpoint
from sshd_sample import Sshd


@pytest.fixture(scope="session")
def _sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    endpoint = Sshd(tmp_path_factory.mktemp("sshd"))
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="session")
def _adbd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adbd]:
    endpoint = Adbd(tmp_path_factory.mktemp("adbd"))
    yield endpoint
    endpoint.stop()


@pytest.fixture
def sshd(_sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sshd:
    """A real sshd whose key is known; this process's folder is ``tmp_path``."""
    monkeypatch.setenv("EDGELR_SSH_CONFIG", str(_sshd.config))
    monkeypatch.chdir(tmp_path)
    _sshd.reset()
    _sshd.know()
    return _sshd


@pytest.fixture
def adbd(_adbd: Adbd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Adbd:
    """The stand-in device behind a real adb; this process's folder is ``tmp_path``."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(_adbd.server_port))
    monkeypatch.chdir(tmp_path)
    _adbd.reset()
    _adbd.ready()
    return _adbd


@pytest.fixture(params=["local", "ssh", "adb"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Endpoint:
    if request.param == "local":
        return LocalEndpoint(tmp_path, monkeypatch)
    endpoint: Endpoint = request.getfixturevalue("sshd" if request.param == "ssh" else "adbd")
    return endpoint
