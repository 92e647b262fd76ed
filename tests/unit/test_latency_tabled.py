"""A target without a device: latencies by its tables, never called measured, each with its band, and what was extrapolated is told."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from journey_sample import build
from latency_sample import HEAD, add, conv, grid, table, us

from edgelr.errors import BadInputError, UsageError
from edgelr.latency.cut import cut_operators
from edgelr.latency.table import Table
from edgelr.latency.tabled import Tabled
from edgelr.pipeline.files import draft
from edgelr.pipeline.machine import Place, check_is, machine_of, place_of
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.source import inspect
from edgelr.vocabulary import How


def written() -> bytes:
    return draft(inspect("tiny", build(), (1, 8, 8)).graph, ("tflite",), Precision())["tflite"]


def tabled(how: How = "simulated", **head: float) -> Tabled:
    made = table([*grid(), add(14, 32)])
    named = {"band": 0.25, "ratio_band": 0.1, "call_us": 3.0, **head}
    return Tabled({"tflite": Table(replace(made.head, how=how, **named), made.rows)})  # type: ignore[arg-type]


def test_a_files_latency_is_its_operations_and_one_call_with_the_tables_band() -> None:
    paper, data = tabled(), written()
    timing = paper.together({"net": data}, "tflite")["net"]
    parts = paper.op_times(data, "tflite", rounds=1)
    assert timing.median * 1e3 == pytest.approx(sum(parts.us.values()) + 3.0)
    assert timing.p10 == pytest.approx(timing.median / 1.25) and timing.p90 == pytest.approx(timing.median * 1.25)
    assert timing.how == "simulated" and timing.n == 0 and "raspberry-pi-4" in timing.on
    assert set(parts.us) == {c.name for c in cut_operators(data, "tflite")}


def test_a_measured_table_predicts_and_a_simulated_one_simulates() -> None:
    assert tabled("measured").together({"a": written()}, "tflite")["a"].how == "predicted"
    assert tabled("measured").how == "predicted" and tabled().how == "simulated"


def test_bands_are_of_one_latency_and_of_a_ratio() -> None:
    assert tabled().band("tflite") == 0.25 and tabled().ratio_band("tflite") == 0.1
    made = tabled(ratio_band=0.0)
    assert made.ratio_band("tflite") == 0.25  # not known: as wide as the other


def test_what_lies_beyond_the_rows_is_told_and_what_has_rows_is_not() -> None:
    paper = tabled()
    assert paper.notes() == ()
    paper.together({"net": written()}, "tflite")  # its mean and linear layer have no family there
    (note,) = paper.notes()
    assert "outside the rows" in note and "litert" in note


def test_rows_are_met_exactly() -> None:
    paper = tabled()
    operation = conv(14, 32, 32)
    assert paper._pricers["tflite"].price(operation).us == pytest.approx(us(operation))


@pytest.mark.parametrize(
    "text", ["raspberry-pi-4", "raspberry-pi-4@ssh://pi@192.0.2.7", "raspberry-pi-4@adb:12AB?python=/x", "raspberry-pi-4@emulated"]
)
def test_a_target_and_its_device_are_parted_at_the_first_mark(text: str) -> None:
    place = place_of(text)
    assert place.target.name == "raspberry-pi-4" and place.address == text.partition("@")[2]


def test_host_is_this_machine_and_nothing_else() -> None:
    assert place_of("host@local").target.name == "host"
    with pytest.raises(UsageError):
        place_of("host@ssh://pi@192.0.2.7")
    machine = machine_of(place_of("host"), ("tflite",))
    assert machine.how == "measured" and dict(machine.runtimes) == {"tflite": "litert"} and machine.band("tflite") == 0


def test_another_core_than_the_targets_is_refused() -> None:
    from edgelr.devices import Cpu, Described

    told = Described("", "aarch64", "Linux", "3.11", (Cpu(0, "cortex-a72", 1800, 0),), (), 0, {}, {}, (0,))
    check_is(told, place_of("raspberry-pi-4").target, "ssh://board")
    with pytest.raises(UsageError) as refused:
        check_is(told, place_of("raspberry-pi-5").target, "ssh://board")
    assert "cortex-a72" in str(refused.value) and "cortex-a76" in str(refused.value)


def test_a_table_of_another_core_is_refused(tmp_path: Path) -> None:
    from edgelr.latency.store import save_table

    file = tmp_path / "litert.tsv"
    save_table(file, Table(replace(HEAD, core="cortex-a53"), table(grid()).rows))
    with pytest.raises(BadInputError) as refused:
        machine_of(Place(place_of("raspberry-pi-4").target, ""), ("tflite",), table=str(file))
    assert "cortex-a53" in str(refused.value)
