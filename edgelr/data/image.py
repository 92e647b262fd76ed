"""One image file as pixels."""
from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from edgelr.data.split import Array
from edgelr.errors import BadInputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")  # Pillow's others include interpreters of whole page languages
MAX_PIXELS = 89_478_485  # where Pillow begins to warn of a decompression bomb


def read_image(path: Path, channels: int) -> Array:
    """uint8 [H, W, channels]; 3 channels are RGB, 1 is grey. Orientation tags are not applied, as in training.

    Raises BadInputError: unreadable, truncated, more pixels than MAX_PIXELS, more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit below is an error
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels, the limit is {MAX_PIXELS:,}")
                if image.mode.startswith(("I", "F")):
                    raise BadInputError("the image has more than 8 bits a channel", f"its mode is {image.mode}",
                                        "save it with 8 bits, or store arrays as .npy with a recipe for arrays")
                pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    except Image.DecompressionBombError as error:
        raise BadInputError("the image is too large", str(error)[:200], "shrink it first") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadInputError("the image can't be read", str(error).replace(str(path), path.name)[:200], "mend or remove it") from error
    return pixels.reshape(*pixels.shape[:2], channels)
