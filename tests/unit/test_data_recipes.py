"""Recipes: the shipped ones give the known numbers, and files are read strictly."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgelr.data import apply, load_recipe, recipe_names
from edgelr.errors import BadInputError, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def test_the_shipped_recipes_are_all_read() -> None:
    assert {"cifar10", "imagenet", "imagenet-tf", "raw", "speech-log-mel"} <= set(recipe_names())
    assert all(load_recipe(name).about for name in recipe_names())


def test_cifar10_normalises_each_channel_and_puts_it_first() -> None:
    got = apply(load_recipe("cifar10"), PIXELS)
    assert got.shape == (3, 32, 32) and got.dtype == np.float32
    for channel, (mean, std) in enumerate(zip((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), strict=True)):
        np.testing.assert_allclose(got[channel], (PIXELS[..., channel] / 255 - mean) / std, rtol=1e-5, atol=1e-6)


def test_imagenet_resizes_the_shorter_side_crops_the_centre_and_keeps_ready_photos() -> None:
    grey = np.full((300, 400, 3), 128, np.uint8)
    grey[:, 300:] = 255  # outside of the centre crop: 400 * 256/300 = 341 wide, 58 cut on each side
    got = apply(load_recipe("imagenet"), grey)
    assert got.shape == (3, 224, 224)
    np.testing.assert_allclose(got[:, 0, 0], (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]), rtol=1e-5)
    ready = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    np.testing.assert_array_equal(apply(load_recipe("imagenet-tf"), ready), ((ready.astype(np.float32) - 127) / 128).transpose(2, 0, 1))


@pytest.mark.parametrize("image", [PIXELS.transpose(2, 0, 1), np.repeat(PIXELS[:, :, :1], 3, 2)])
def test_channels_first_pixels_and_grey_ones_are_taken(image: np.ndarray) -> None:  # type: ignore[type-arg]
    recipe = load_recipe("cifar10")
    hwc = image if image.shape[2] == 3 else image.transpose(1, 2, 0)
    np.testing.assert_array_equal(apply(recipe, image), apply(recipe, hwc))
    np.testing.assert_array_equal(apply(recipe, PIXELS[:, :, 0]), apply(recipe, np.repeat(PIXELS[:, :, :1], 3, 2)))


def test_real_numbers_are_no_pixels() -> None:
    with pytest.raises(BadInputError, match="float32"):
        apply(load_recipe("cifar10"), PIXELS.astype(np.float32))


def mel(hz: float) -> float:
    return 2595 * float(np.log10(1 + hz / 700))


@pytest.mark.parametrize("hz", [300, 1000, 4000])
def test_log_mel_puts_a_tone_into_its_band_at_its_energy(hz: float) -> None:
    t = np.arange(16000) / 16000
    got = apply(load_recipe("speech-log-mel"), (0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32))
    assert got.shape == (1, 40, 98)  # 1 + (16000 - 400) // 160 frames
    band = (mel(hz) - mel(20)) / ((mel(7600) - mel(20)) / 41) - 1  # centres are spaced evenly in mel
    assert set(got[0].argmax(0)) <= {int(np.floor(band)), int(np.ceil(band))}
    # by Parseval, the tone's energy in a Hann window of 400 in 512 bins, one side: 512 * sum((0.5 w sin)^2) / 2; filters sum to about 1
    energy = 512 * np.sum(np.hanning(401)[:-1] ** 2) * 0.25 / 2 / 2
    assert np.exp(got[0, :, 50]).sum() == pytest.approx(energy, rel=0.05)


def test_log_mel_frames_equal_a_plain_fourier_sum() -> None:
    wave = np.random.default_rng(1).normal(size=16000).astype(np.float32)
    n, frame = np.arange(400), wave[160 * 7: 160 * 7 + 400].astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    power = np.abs(np.exp(-2j * np.pi * np.outer(np.arange(257), n) / 512) @ (frame * window)) ** 2
    edges = np.linspace(mel(20), mel(7600), 42)
    bands = []
    for low, mid, high in zip(edges, edges[1:], edges[2:], strict=False):
        at = np.array([mel(k * 16000 / 512) for k in range(257)])
        bands.append(power @ np.clip(np.minimum((at - low) / (mid - low), (high - at) / (high - mid)), 0, None))
    np.testing.assert_allclose(apply(load_recipe("speech-log-mel"), wave)[0, :, 7], np.log(bands), rtol=1e-5)


def test_short_sounds_are_padded_and_int16_is_scaled() -> None:
    recipe = load_recipe("speech-log-mel")
    short = (np.sin(np.arange(5000)) * 20000).astype(np.int16)
    np.testing.assert_array_equal(apply(recipe, short), apply(recipe, np.pad(short, (0, 11000)).astype(np.float32) / 32768))


GOOD = 'input = "image"\n[[step]]\ndo = "scale"\ndivide = 255\n'


@pytest.mark.parametrize(("text", "words"), [
    (GOOD.replace("divide", "devide"), "did you mean divide?"),
    (GOOD.replace('"scale"', '"scael"'), "did you mean scale?"),
    (GOOD.replace("input", "inputs"), "did you mean input?"),
    (GOOD.replace('"image"', '"picture"'), "image, audio, array"),
    (GOOD.replace("divide = 255", ""), "divide is missing"),
    (GOOD.replace("255", "0"), "above 0"),
    (GOOD.replace("255", "nan"), "divide is nan"),
    (GOOD.replace("255", '"255"'), "a number is needed"),
    (GOOD.replace("255", "true"), "a number is needed"),
    (GOOD + '[[step]]\ndo = "centre-crop"\nsize = 2.5\n', "a whole number is needed"),
    (GOOD + '[[step]]\ndo = "normalise"\nmean = [0.5]\nstd = [0.5, 0.5]\n', "differ in length"),
    (GOOD + '[[step]]\ndo = "layout"\norder = "nchw"\n', "chw, hwc"),
    (GOOD + '[[step]]\ndo = "length"\nseconds = 1\n', "step for sound"),
    ('input = "audio"\n', "sample_rate"),
    ("step = 3\n" + GOOD.splitlines()[0], "[[step]]"),
    ("= nonsense", "not a TOML file"),
])
def test_a_typing_error_in_a_recipe_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(BadInputError) as told:
        load_recipe(str(tmp_path / "mine.toml"))
    assert words in str(told.value) and "mine" in told.value.what


def test_the_example_of_the_documentation_works(tmp_path: Path, root: Path) -> None:
    text = (root / "docs" / "recipes.md").read_text("utf-8")
    lines = text[text.index("    about ="):].split("\nSteps run")[0].splitlines()
    (tmp_path / "mine.toml").write_text("\n".join(line[4:] for line in lines))
    got = apply(load_recipe(str(tmp_path / "mine.toml")), np.full((200, 100), 255, np.uint8))
    assert got.shape == (1, 96, 96) and np.all(got == 1)


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(UsageError) as told:
        load_recipe("imagnet")
    assert "did you mean imagenet?" in told.value.try_
    with pytest.raises(BadInputError, match="no recipe file"):
        load_recipe("nowhere/mine.toml")
