"""The targets that are shipped: tables that can be read and used, prices that make sense, facts with sources."""
from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from edgelr.devices import list_targets, load_target
from edgelr.latency.operation import Operation
from edgelr.latency.pricer import Pricer
from edgelr.latency.table import Table
from edgelr.latency.table_check import check
from edgelr.latency.table_file import loads

TARGETS = Path(__file__).resolve().parents[2] / "targets"
SHIPPED = tuple(n for n in list_targets() if n != "host")
RUNTIMES = ("litert", "onnxruntime")
EACH = [(name, runtime) for name in SHIPPED for runtime in RUNTIMES]
MOST_BYTES = 125_000
PHONES = ("exynos-850", "pixel-4", "pixel-6", "pixel-7", "snapdragon-6-gen-1", "snapdragon-660")
BOARDS = ("raspberry-pi-zero-2w", "raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5")


@cache
def table(name: str, runtime: str) -> Table:
    return loads((TARGETS / name / f"{runtime}.tsv").read_text(encoding="utf-8"))


@cache
def pricer(name: str, runtime: str) -> Pricer:
    return Pricer(table(name, runtime))


def conv(side: int, c_in: int, c_out: int, kernel: int = 1, numbers: str = "int8") -> Operation:
    return Operation("conv", numbers, ((1, side, side, c_in),), (1, side, side, c_out), (kernel, kernel))  # type: ignore[arg-type]


def test_every_board_and_phone_of_the_documentation_is_there() -> None:
    assert set(SHIPPED) == {*BOARDS, *PHONES}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_target_tells_its_core_its_clock_and_facts_with_sources(name: str) -> None:
    target = load_target(name)
    assert target.name == name and target.threads == 1 and target.runtimes == RUNTIMES
    assert target.core.startswith("cortex-") and 0.9 < target.clock_ghz < 3.3
    assert len(target.facts) >= 3 and all(f.text and f.source for f in target.facts)
    emulated = ("cortex-a53", "cortex-a72", "cortex-a76")
    assert (target.kernels in emulated) == (target.core not in emulated), "a core without an emulator says whose kernels were counted"


@pytest.mark.parametrize(("name", "runtime"), EACH)
def test_a_shipped_table_is_of_its_target_simulated_and_says_how_wrong_it_is(name: str, runtime: str) -> None:
    target, head = load_target(name), table(name, runtime).head
    assert (head.target, head.runtime, head.core, head.clock_ghz, head.threads) == (name, runtime, target.core, target.clock_ghz, 1)
    assert check(table(name, runtime), core=target.core, runtime=runtime, threads=1) == ()
    assert head.how == "simulated" and head.band_from and head.call_us > 0
    assert 0.08 <= head.ratio_band <= 1 and (0.15 if runtime == "litert" else 0.25) <= head.band <= 1, "few files can't promise more"
    assert (TARGETS / name / f"{runtime}.tsv").stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("name", SHIPPED)
def test_a_targets_rank_steps_are_the_int8_steps_that_its_tables_counted(name: str) -> None:
    assert load_target(name).rank_steps == {runtime: table(name, runtime).head.steps["int8"] for runtime in RUNTIMES}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_targets_page_tells_the_errors_that_its_tables_carry(name: str) -> None:
    page = (TARGETS / name / "README.md").read_text(encoding="utf-8")
    for runtime in RUNTIMES:
        head = table(name, runtime).head
        assert f"**{head.band:.0%}**" in page and f"**{head.ratio_band:.0%}**" in page and "simulated" in page


@pytest.mark.parametrize(("name", "runtime"), EACH)
def test_tables_are_dense_enough_for_the_shapes_of_common_networks(name: str, runtime: str) -> None:
    wanted = [
        conv(56, 64, 64, 3), conv(14, 256, 256, 3), conv(28, 128, 48, 3), conv(14, 96, 40), conv(7, 320, 1280), conv(56, 24, 144),  # CNNs
        Operation("depthwise", "int8", ((1, 28, 28, 192),), (1, 28, 28, 192), (3, 3), groups=192),
        Operation("linear", "int8", ((1, 512),), (1, 100)), Operation("linear", "int8", ((1, 197, 192),), (1, 197, 576)),  # heads, ViT
        Operation("linear", "float", ((1, 128),), (1, 512)), Operation("linear", "dynamic", ((1, 128),), (1, 512)),  # recurrent steps
        conv(28, 128, 48, 3, "float"), conv(14, 96, 40, 1, "float"),
    ]  # fmt: skip
    unlike = [str(o) for o in wanted if pricer(name, runtime).price(o).basis not in ("row", "between")]
    assert not unlike, f"no rows around: {unlike}"


@pytest.mark.parametrize(("name", "runtime"), EACH)
@pytest.mark.parametrize("numbers", ["int8", "float"])
def test_more_channels_never_cost_less(name: str, runtime: str, numbers: str) -> None:
    step = table(name, runtime).head.steps[numbers]
    for kernel, side in ((1, 14), (3, 28)):
        us = [pricer(name, runtime).price(conv(side, 64, n, kernel, numbers)).us for n in range(step, 129, step)]
        assert all(later >= 0.999 * earlier for earlier, later in pairwise(us)), us


@pytest.mark.parametrize("name", SHIPPED)
def test_dot_products_show(name: str) -> None:
    """A large int8 convolution gains much more over float where the core has dot products."""
    gain = pricer(name, "litert").price(conv(28, 128, 128, 3, "float")).us / pricer(name, "litert").price(conv(28, 128, 128, 3)).us
    assert gain > 2.7 if "dotprod" in load_target(name).features else gain < 2.7


def test_a_faster_clock_of_the_same_core_is_faster_by_the_clock() -> None:
    zero, three = (table(n, "litert") for n in ("raspberry-pi-zero-2w", "raspberry-pi-3b-plus"))
    assert zero.rows.keys() == three.rows.keys()
    large = [o for o, row in zero.rows.items() if row.us > 100]
    assert large and all(zero.rows[o].us / three.rows[o].us == pytest.approx(1.4, rel=1e-3) for o in large)


def test_phones_of_every_kind_of_core_are_there() -> None:
    cores = {load_target(name).core.removeprefix("cortex-") for name in PHONES}
    assert cores >= {"a55", "a76", "a78", "x1"}


def test_a_phone_of_small_cores_alone_is_the_slowest_that_has_dot_products() -> None:
    phones = [n for n in PHONES if "dotprod" in load_target(n).features]
    for numbers in ("int8", "float"):
        us = {n: pricer(n, "litert").price(conv(28, 128, 128, 3, numbers)).us for n in phones}
        assert max(us, key=us.__getitem__) == "exynos-850", us


def test_the_boards_stand_in_their_order() -> None:
    us = [pricer(n, "litert").price(conv(28, 128, 128, 3)).us for n in BOARDS]
    assert us == sorted(us, reverse=True) and us[0] > 5 * us[-1]
