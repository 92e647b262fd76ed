"""Operation by operation on a device, through its transport: the same names as here, and they add up to the whole there."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgelr.devices import Device
from edgelr.devices.attach import open_transport
from edgelr.latency.cut import cut_operators
from edgelr.latency.device_ops import device_op_times
from edgelr.latency.operation import Operation
from edgelr.latency.row_source import DeviceRows
from edgelr.vocabulary import Format


@pytest.fixture(scope="module")
def here() -> Iterator[Device]:
    with Device(open_transport("local")) as device:
        yield device


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_operations_on_a_device_add_up_to_the_whole(here: Device, deep: dict[str, bytes], format: Format) -> None:
    times = device_op_times(here, deep[format], format)
    assert times.sum_us == pytest.approx(times.whole_us, rel=1e-6)
    assert {f"stage.{i}" for i in range(5)} <= set(times.us)
    assert times.us["stage.1"] > 2 * times.us["head.0"] > 0
    assert times.whole_us > 10


def test_equal_operations_are_sent_and_measured_once(here: Device, deep: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    rows = here.rows
    monkeypatch.setattr(here, "rows", lambda files, **more: rows([f for f in files if sent.append(len(f[1])) is None], **more))
    times = device_op_times(here, deep["tflite"], "tflite")
    assert len(sent) == len({c.key for c in cut_operators(deep["tflite"], "tflite")}) < len(times.us)
    assert times.us["stage.1"] == times.us["stage.4"]


def test_rows_of_a_table_have_neighbours_of_their_size(here: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small layer among large ones finds its weights farther away than inside a small network."""
    sent: list[int] = []
    rows = here.rows
    monkeypatch.setattr(here, "rows", lambda files, **more: rows([f for f in files if sent.append(len(f[1])) is None], **more))
    wanted = [Operation("linear", "float", ((1, c),), (1, c)) for c in (512, 16, 256, 64)]
    found = {row.operation: row.us for row in DeviceRows(here, "tflite", 1).rows(wanted)}
    assert sent == sorted(sent) and len(set(sent)) == 4
    assert set(found) == set(wanted) and found[wanted[0]] > found[wanted[2]] > found[wanted[3]]
