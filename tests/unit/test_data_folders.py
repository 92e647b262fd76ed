"""Folders: parts, classes, files; read when they are needed."""
from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgelr.data import read_data
from edgelr.errors import BadInputError, UsageError

SHAPE = (1, 3, 32, 32)


def picture(path: Path, shade: int, size: tuple[int, int] = (32, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)


def test_parts_and_classes_are_found_by_their_names(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("val", 2), ("test", 2)):
        for shade, name in enumerate(("10", "9", "2")):
            for i in range(count):
                picture(tmp_path / part / name / f"{i}.png", shade)
    (tmp_path / "train" / "notes.txt").write_text("passed over")
    (tmp_path / "train" / ".hidden").mkdir()
    data = read_data(str(tmp_path), "cifar10", SHAPE, 0)
    assert data.classes == ("2", "9", "10")  # whole numbers by value: the order of training sets numbered so
    assert [len(p) for p in (data.train, data.validation, data.test) if p] == [18, 6, 6]
    assert data.train is not None and data.train.y is not None
    shades = np.round((np.asarray(data.train.x)[:, 0, 0, 0] * 0.2470 + 0.4914) * 255).astype(int)
    assert shades.tolist() == [{0: 2, 1: 1, 2: 0}[label] for label in data.train.y.tolist()]


def test_class_folders_directly_are_divided_and_loose_files_are_unlabelled(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for i in range(10):
            picture(tmp_path / "labelled" / name / f"{i}.png", i)
    data = read_data(str(tmp_path / "labelled"), "cifar10", SHAPE, 0)
    assert data.classes == ("cat", "dog") and data.name == "labelled"
    assert [len(p) for p in (data.train, data.validation, data.test) if p] == [12, 4, 4]
    for i in range(10):
        picture(tmp_path / "loose" / f"{i}.jpg", i)
    loose = read_data(str(tmp_path / "loose"), "cifar10", SHAPE, 0)
    assert loose.train is None and loose.calibration is not None and len(loose.calibration) == 6 and loose.calibration.y is None


def test_files_are_opened_when_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgelr.data import image

    for i in range(30):
        picture(tmp_path / "val" / f"{i:02}.png", i)
    opened: list[str] = []
    read = image.read_image
    monkeypatch.setattr(image, "read_image", lambda path, channels: opened.append(path.name) or read(path, channels))
    data = read_data(str(tmp_path), "cifar10", SHAPE, 0)
    assert len(opened) <= 4
    assert data.validation is not None
    next(data.validation.batches(5))
    assert opened[-5:] == ["00.png", "01.png", "02.png", "03.png", "04.png"] and len(opened) < 15


def test_arrays_and_sounds_are_read_by_their_recipes(tmp_path: Path) -> None:
    (tmp_path / "arrays").mkdir()
    (tmp_path / "sounds").mkdir()
    for i in range(3):
        np.save(tmp_path / "arrays" / f"{i}.npy", np.full((2, 4), i, np.float64))
        tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000) * 16000
        with wave.open(str(tmp_path / "sounds" / f"{i}.wav"), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(np.stack([tone, tone], 1).astype("<i2").tobytes())
    arrays = read_data(str(tmp_path / "arrays"), "raw", (1, 2, 4), 0).calibration
    assert arrays is not None and np.asarray(arrays.x)[:, 0, 0].tolist() == [0, 1, 2]
    sounds = read_data(str(tmp_path / "sounds"), "speech-log-mel", (1, 1, 40, 98), 0).calibration
    assert sounds is not None
    band = int(np.asarray(sounds.x[0])[0, :, 50].argmax())
    assert band in (13, 14)  # of 1 kHz, resampled from 8 to 16 kHz


@pytest.mark.parametrize(("files", "words"), [
    ((), "no samples"),
    (("a/1.png", "2.png"), "2.png lies beside class folders"),
    (("train/a/1.png", "train/b/1.png", "val/a/1.png"), "no samples of class b"),
    (("notes.txt",), "no samples"),
])
def test_each_fault_of_a_folder_is_named(tmp_path: Path, files: tuple[str, ...], words: str) -> None:
    for name in files:
        picture(tmp_path / name, 1) if name.endswith("png") else (tmp_path / name).write_text("")
    with pytest.raises(BadInputError) as told:
        read_data(str(tmp_path), "cifar10", SHAPE, 0)
    assert words in str(told.value)


def test_a_folder_needs_a_recipe_and_the_network_s_shape(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png", 1, (20, 20))
    with pytest.raises(UsageError, match="needs a recipe"):
        read_data(str(tmp_path), None, SHAPE, 0)
    with pytest.raises(BadInputError, match="wrong shape") as told:
        read_data(str(tmp_path), "cifar10", SHAPE, 0)
    assert "3x20x20" in told.value.why and "3x32x32" in told.value.why
