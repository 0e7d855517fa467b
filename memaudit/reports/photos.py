"""Small images of single examples."""

from __future__ import annotations

import base64
import binascii
import io
import struct

from matplotlib.image import imread, imsave

_PREFIX = "data:image/png;base64,"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LARGEST = 1024  # pixels a side: a small file can claim to be an image of a million by a million


def png(thumbnail: str) -> bytes | None:
    """Returns a thumbnail as a PNG file that holds its pixels and nothing else; None for what is no such image."""
    try:
        content = base64.b64decode(thumbnail.removeprefix(_PREFIX), validate=True)
        if not content.startswith(_SIGNATURE) or max(struct.unpack(">II", content[16:24])) > _LARGEST:
            return None
        file = io.BytesIO()
        pixels = imread(io.BytesIO(content), format="png")
        imsave(file, pixels, format="png", cmap="gray", vmin=0, vmax=1, metadata={"Software": ""})
    except (binascii.Error, ValueError, OSError, SyntaxError, struct.error):
        return None
    return file.getvalue()
