"""The counting plugin: programs of known instructions and accesses, run by QEMU, against what must be counted."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "emulation"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from arm_program import DATA, NOP, counted, elf, ended, repeated
from counting import Events
from plugin import PluginError, arguments, build

pytestmark = pytest.mark.skipif(which("qemu-aarch64") is None or which("gcc") is None, reason="needs Debian's qemu-user and gcc")

# Words that GNU as 2.40 writes for each line, and the class of each by its mnemonic.
FP_MAC = {
    "fmadd s0, s1, s2, s3": 0x1F020C20, "fnmsub d0, d1, d2, d3": 0x1F628C20, "fmul s0, s1, s2": 0x1E220820,
    "fmla v0.4s, v1.4s, v2.4s": 0x4E22CC20, "fmls v0.2d, v1.2d, v2.2d": 0x4EE2CC20, "fmul v0.4s, v1.4s, v2.4s": 0x6E22DC20,
    "fmla v0.4s, v1.4s, v2.s[3]": 0x4FA21820, "fmul v0.2s, v1.2s, v2.s[1]": 0x0FA29020, "fmla v0.8h, v1.8h, v2.8h": 0x4E420C20,
    "fmla v0.8h, v1.8h, v2.h[7]": 0x4F321820, "fmls v0.4s, v1.4s, v2.s[3]": 0x4FA25820, "fmul v0.8h, v1.8h, v2.h[7]": 0x4F329820,
}  # fmt: skip
INT_MAC = {
    "sdot v0.4s, v1.16b, v2.16b": 0x4E829420, "udot v0.4s, v1.16b, v2.4b[1]": 0x6FA2E020, "smlal v0.4s, v1.4h, v2.4h": 0x0E628020,
    "smlal2 v0.8h, v1.16b, v2.16b": 0x4E228020, "umlsl v0.8h, v1.8b, v2.8b": 0x2E22A020, "smull v0.8h, v1.8b, v2.8b": 0x0E22C020,
    "smlal v0.4s, v1.4h, v2.h[2]": 0x0F622020, "umull2 v0.4s, v1.8h, v2.h[5]": 0x6F52A820, "mla v0.4s, v1.4s, v2.4s": 0x4EA29420,
    "mul v0.8h, v1.8h, v2.8h": 0x4E629C20, "mls v0.8h, v1.8h, v2.h[1]": 0x6F524020, "mul v0.4s, v1.4s, v2.s[1]": 0x4FA28020,
    "sqrdmulh v0.4s, v1.4s, v2.4s": 0x6EA2B420, "sqdmulh v0.8h, v1.8h, v2.h[0]": 0x4F42C020, "sqdmlal v0.4s, v1.4h, v2.4h": 0x0E629020,
    "sqrdmlah v0.4s, v1.4s, v2.4s": 0x6E828420, "udot v0.4s, v1.16b, v2.16b": 0x6E829420, "smlsl v0.4s, v1.4h, v2.h[2]": 0x0F626020,
    "sqdmull v0.4s, v1.4h, v2.h[2]": 0x0F62B020, "mla v0.4s, v1.4s, v2.s[1]": 0x6FA20020,
}  # fmt: skip
LOAD = {
    "ldr x0, [sp]": 0xF94003E0, "ldrb w0, [sp, #3]": 0x39400FE0, "ldrsw x0, [sp, #4]": 0xB98007E0, "ldr q0, [sp]": 0x3DC003E0,
    "ldp q0, q1, [sp]": 0xAD4007E0, "ldp x0, x1, [sp]": 0xA94007E0, "ld1 {v0.16b, v1.16b}, [sp]": 0x4C40A3E0,
    "ld1r {v0.4s}, [sp]": 0x4D40CBE0, "ldur d0, [sp, #-8]": 0xFC5F83E0, "ldaxr x0, [sp]": 0xC85FFFE0,
    "ldadd x0, x1, [sp]": 0xF82003E1,
}  # fmt: skip
STORE = {
    "str x0, [sp]": 0xF90003E0, "strh w0, [sp, #2]": 0x790007E0, "str q0, [sp]": 0x3D8003E0, "stp q0, q1, [sp]": 0xAD0007E0,
    "st1 {v0.4s}, [sp]": 0x4C007BE0, "stur s0, [sp, #-4]": 0xBC1FC3E0,
}  # fmt: skip
OTHER = {
    "add v0.4s, v1.4s, v2.4s": 0x4EA28420, "fadd v0.4s, v1.4s, v2.4s": 0x4E22D420, "fmax v0.4s, v1.4s, v2.4s": 0x4E22F420,
    "fdiv v0.4s, v1.4s, v2.4s": 0x6E22FC20, "sadalp v0.4s, v1.8h": 0x4E606820, "saddl v0.8h, v1.8b, v2.8b": 0x0E220020,
    "pmull v0.8h, v1.8b, v2.8b": 0x0E22E020, "sqxtn v0.8b, v1.8h": 0x0E214820, "dup v0.4s, v1.s[0]": 0x4E040420,
    "fcvtns v0.4s, v1.4s": 0x4E21A820, "movi v0.16b, #1": 0x4F00E420, "madd x0, x1, x2, x3": 0x9B020C20, "mul w0, w1, w2": 0x1B027C20,
    "add x0, x1, x2": 0x8B020020, "prfm pldl1keep, [sp]": 0xF98003E0, "prfum pldl1keep, [sp, #-8]": 0xF89F83E0, "b .+4": 0x14000001,
}  # fmt: skip
MARK = 2  # the second mark's own mov and svc are counted


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("plugin"))


def run(plugin: Path, folder: Path, words: list[int], caches: tuple[str, str, str] = ("32x2", "1024x16", "0x1")) -> list[Events]:
    program, out = folder / "program", folder / "counts"
    program.write_bytes(elf(ended(words)))
    program.chmod(0o700)
    subprocess.run(["qemu-aarch64", "-cpu", "max", *arguments(plugin, out, caches), str(program)], check=True, timeout=60)
    lines = out.read_text().splitlines()
    out.unlink()
    return [Events(*map(int, line.split())) for line in lines]


@pytest.mark.parametrize("name", ["FP_MAC", "INT_MAC", "LOAD", "STORE", "OTHER"])
def test_each_instruction_is_in_its_class(plugin: Path, tmp_path: Path, name: str) -> None:
    words: dict[str, int] = globals()[name]
    found = run(plugin, tmp_path, [w for word in words.values() for w in counted([word])])
    assert len(found) == len(words)
    field = name.lower()
    wrong = [text for text, e in zip(words, found, strict=True) if getattr(e, field) != 1 + MARK * (field == "other")]
    assert not wrong
    assert all(e.fp_mac + e.int_mac + e.load + e.store + e.other == 1 + MARK for e in found)


def test_loops_are_counted_exactly_and_nop_is_not(plugin: Path, tmp_path: Path) -> None:
    body = [FP_MAC["fmla v0.4s, v1.4s, v2.4s"], INT_MAC["smlal v0.4s, v1.4h, v2.4h"], LOAD["ldr q0, [sp]"], STORE["str q0, [sp]"], NOP]
    (found,) = run(plugin, tmp_path, counted(repeated(1000, [*body, *body])))
    assert (found.fp_mac, found.int_mac, found.load, found.store) == (2000, 2000, 2000, 2000)
    assert found.other == 1 + 2 * 1000 + MARK  # mov; subs and b.ne


def test_regions_begin_at_zero_and_count_nothing_between(plugin: Path, tmp_path: Path) -> None:
    region, between = counted([FP_MAC["fmul s0, s1, s2"]]), repeated(50, [STORE["str q0, [sp]"]])
    first, second = run(plugin, tmp_path, [*region, *between, *region])
    assert first == second
    assert (first.fp_mac, first.store, first.l1_fetched) == (1, 0, 0)


def sweep(lines: int) -> list[int]:
    """movz x2, #DATA, lsl #16; then so often: str x0, [x2], #64."""
    return [0xD2A00002 | (DATA >> 16) << 5, *repeated(lines, [0xF8040440])]


def test_cache_lines_of_two_sweeps(plugin: Path, tmp_path: Path) -> None:
    """64 KiB written twice through 32 KiB of L1 and 1 MiB of L2: by hand, a least-recently-used cache misses each line of both sweeps."""
    (found,) = run(plugin, tmp_path, counted([*sweep(1024), *sweep(1024)]))
    assert (found.l1_fetched, found.l1_written) == (2048, 2048 - 512)  # 512 lines are still there, dirty
    assert (found.l2_fetched, found.l2_written) == (1024, 0)


def test_what_fits_is_fetched_once_and_getsid_empties(plugin: Path, tmp_path: Path) -> None:
    once = counted([*sweep(256), *sweep(256)])
    first, second = run(plugin, tmp_path, [*once, *once])
    assert first == second
    assert (first.l1_fetched, first.l1_written, first.l2_fetched) == (256, 0, 256)


def test_a_third_level_takes_what_the_second_loses(plugin: Path, tmp_path: Path) -> None:
    (found,) = run(plugin, tmp_path, counted([*sweep(1024), *sweep(1024)]), ("4x4", "16x8", "64x16"))
    assert (found.l2_fetched, found.l3_fetched, found.l3_written) == (2048, 1024, 0)
    assert found.l2_written == 2048 - 256  # what L2 still holds is not written yet


def test_a_whole_line_that_comes_back_is_not_fetched(plugin: Path, tmp_path: Path) -> None:
    """An L2 that is smaller than the L1 has lost the line that L1 writes back."""
    (found,) = run(plugin, tmp_path, counted([*sweep(1024), *sweep(1024)]), ("32x2", "4x4", "0x1"))
    assert found.l2_fetched == found.l1_fetched == 2048


def test_a_line_across_a_border_is_two(plugin: Path, tmp_path: Path) -> None:
    """movz x2, #DATA, lsl #16; ldur x0, [x2, #60]."""
    (found,) = run(plugin, tmp_path, counted([0xD2A00002 | (DATA >> 16) << 5, 0xF843C040]))
    assert found.l1_fetched == 2


def test_paths_that_qemu_would_split_are_refused() -> None:
    with pytest.raises(PluginError, match="can't name"):
        arguments(Path("/a,b.so"), Path("/out"), ("32x2", "0x1", "0x1"))
