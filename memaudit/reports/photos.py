"""Small images of single examples."""

from __future__ import annotations

import base64
import binascii
import io

from PIL import Image

_PREFIX = "data:image/png;base64,"
_LARGEST = 1024  # pixels a side: a small file can claim to be an image of a million by a million


def png(thumbnail: str) -> bytes | None:
    """Return a thumbnail as a PNG file that holds its pixels and nothing else; None for what is no such image."""
    file = io.BytesIO()
    try:
        content = base64.b64decode(thumbnail.removeprefix(_PREFIX), validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if max(image.size) > _LARGEST:
                return None
            pixels = image.convert("RGBA")
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return None
    pixels.info.clear()  # a comment or a profile would be saved again
    pixels.save(file, "png")
    return file.getvalue()
