"""Pictures inside an HTML file."""

from __future__ import annotations

import base64
import io

from PIL import Image

from ...scoring.images.opening import as_rgb

SMALL = 128
"""Pictures up to this side in pixels are kept as PNG, without loss, and enlarged without smoothing."""

LARGEST, QUALITY = 640, 85
"""Larger ones are WebP of this quality, and no side is longer than this."""

STORED = (
    f"Pictures up to {SMALL} pixels a side are in this file as they are (PNG); larger ones as WebP of quality "
    f"{QUALITY}, at most {LARGEST} pixels a side."
)


def data_uri(image: Image.Image) -> tuple[str, int, int]:
    """A picture as a data URI, with the width and height that it has there: see `SMALL` and `LARGEST`."""
    image, buffer = as_rgb(image, background="white").copy(), io.BytesIO()
    if is_small(image):
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        image.save(buffer, "WEBP", quality=QUALITY)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", image.width, image.height


def is_small(image: Image.Image) -> bool:
    """Whether a picture is kept as it is."""
    return max(image.size) <= SMALL
