"""Data files that are damaged or hostile: a typed error that names the file or sample. Nothing runs, nothing unpacks without limit."""
from __future__ import annotations

import io
import os
import pickle
import resource
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgelr.data import read_data
from edgelr.errors import BadInputError, EdgelrError

SHAPE = (1, 3, 32, 32)


def read_all(spec: Path, recipe: str | None = "cifar10", shape: tuple[int, ...] | None = SHAPE) -> None:
    for part in read_data(str(spec), recipe, shape, 0).parts().values():
        for _ in part.batches(8):
            pass


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", npy(np.zeros((8, 3, 32, 32), np.float32)))
        file.writestr("x.npy", npy(np.ones((8, 3, 32, 32), np.float32)))
    with pytest.raises(BadInputError, match="can't be read") as told:
        read_all(tmp_path / "a.npz", None)
    assert "occurs twice" in told.value.why


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


def test_pickled_arrays_are_refused_unopened(tmp_path: Path) -> None:
    bad = np.empty(1, object)
    bad[0] = Canary(tmp_path / "canary")
    np.savez(tmp_path / "a.npz", x=bad)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "0.npy", bad)
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    for spec, recipe in (("a.npz", None), ("folder", "raw"), ("b.npz", None)):
        with pytest.raises(BadInputError) as told:
            read_all(tmp_path / spec, recipe, None)
        assert "Python objects" in told.value.what or spec == "b.npz"
    assert not (tmp_path / "canary").exists()


def test_an_archive_that_would_unpack_beyond_the_limit_is_refused_by_its_declared_size(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (4_294_967_000, 1)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("x_train", "x_val", "x_test"):
            file.writestr(f"{name}.npy", header.getvalue() + bytes(1 << 20))
    raw = (tmp_path / "a.npz").read_bytes()
    real, huge = (n.to_bytes(4, "little") for n in (len(header.getvalue()) + (1 << 20), len(header.getvalue()) + 4_294_967_000))
    assert raw.count(real) == 6  # in each entry's own header and in the directory
    (tmp_path / "a.npz").write_bytes(raw.replace(real, huge))
    before = peak_bytes()
    with pytest.raises(BadInputError) as told:
        read_all(tmp_path / "a.npz", "raw", None)
    assert "unpacks to 12,884," in told.value.why and peak_bytes() - before < 50_000_000


def test_a_header_that_claims_more_than_the_entry_holds_is_refused_without_allocating(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 3, 32, 32)})
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", packing) as file:
            file.writestr("x.npy", header.getvalue() + bytes(100))
        before = peak_bytes()
        with pytest.raises(BadInputError) as told:
            read_all(tmp_path / "a.npz", None)
        assert "declares shape" in told.value.why and peak_bytes() - before < 50_000_000


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_of_an_npz_is_a_typed_error(tmp_path: Path, packed: bool) -> None:
    x = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    (np.savez_compressed if packed else np.savez)(tmp_path / "good.npz", x=x)
    good = (tmp_path / "good.npz").read_bytes()
    for cut in np.linspace(0, len(good) - 1, 200).astype(int):
        (tmp_path / "cut.npz").write_bytes(good[:cut])
        with pytest.raises(BadInputError):
            read_all(tmp_path / "cut.npz", None)


@pytest.mark.parametrize("packed", [False, True])
def test_flipped_bits_end_in_data_or_a_typed_error(tmp_path: Path, packed: bool) -> None:
    (np.savez_compressed if packed else np.savez)(tmp_path / "good.npz", x=np.ones((8, 3, 4, 4), np.float32))
    good, draw = (tmp_path / "good.npz").read_bytes(), np.random.default_rng(0)
    for _ in range(500):
        raw = bytearray(good)
        raw[draw.integers(len(raw))] ^= 1 << draw.integers(8)
        (tmp_path / "bad.npz").write_bytes(bytes(raw))
        try:
            read_all(tmp_path / "bad.npz", None, (1, 3, 4, 4))
        except EdgelrError:
            continue


def folder_of(tmp_path: Path, count: int = 20) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(count):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i + 1:02}.jpg")
    return folder


@pytest.mark.parametrize("damage", [
    lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    lambda p: p.write_bytes(b"not a picture"),
    lambda p: p.write_bytes(b""),
    lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nshowpage\n"),
    lambda p: Image.new("RGB", (20, 20)).save(p),
    lambda p: Image.new("RGB", (32, 32)).save(p, "TIFF"),
    lambda p: Image.new("I;16", (32, 32)).save(p, "PNG"),
])
def test_the_17th_file_that_is_bad_is_named(tmp_path: Path, damage: Any) -> None:
    folder = folder_of(tmp_path)
    damage(folder / "17.jpg")
    with pytest.raises(BadInputError) as told:
        read_all(folder)
    assert "17.jpg (file 17 of 20)" in told.value.what and str(tmp_path) not in str(told.value)


def test_a_decompression_bomb_of_pixels_is_refused_unread(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 5)
    for pixels in (10_000, 20_000):  # past Pillow's warning, and past its error
        Image.new("1", (pixels, pixels)).save(folder / "03.png")
        before = peak_bytes()
        with pytest.raises(BadInputError, match=r"03\.png") as told:
            read_all(folder)
        assert "too large" in told.value.what and peak_bytes() - before < 300_000_000


def test_sounds_that_are_truncated_or_no_sounds_are_named(tmp_path: Path) -> None:
    path = tmp_path / "0.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(32000))
    good = path.read_bytes()
    for cut in (0, 3, 20, 40, 44, 1000, len(good) - 2):
        path.write_bytes(good[:cut])
        with pytest.raises(BadInputError, match=r"0\.wav"):
            read_all(tmp_path, "speech-log-mel", None)
    path.write_bytes(good)
    read_all(tmp_path, "speech-log-mel", (1, 1, 40, 98))


def test_nan_in_a_file_is_named_when_it_is_read(tmp_path: Path) -> None:
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.full((3, 4), np.nan if i == 2 else 1.0, np.float32))
    with pytest.raises(BadInputError, match=r"2\.npy \(file 3 of 4\) holds NaN"):
        read_all(tmp_path, "raw", (1, 3, 4))
