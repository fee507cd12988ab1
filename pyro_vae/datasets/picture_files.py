"""Files of pictures: 8 and 16 bits, grey and colour, one page or several."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .reading import Array, Refusal, reading

__all__ = ["page_names", "read_pictures", "stacked"]

_GREY = ("1", "L", "LA", "La")


def read_pictures(
    path: Path, size: int | None = None, grey: bool = False
) -> tuple[list[Array], list[str]]:
    """The picture of a file, or those of its pages, each (H, W) if grey, or (H, W, 3).

    8 bits are uint8, 16 bits of grey uint16, and 32 bits int32 or float32. Transparency is dropped.

    Args:
        path: The file.
        size: Crops to the central square and resizes to (size, size); None leaves the size.
        grey: Whether to drop the colours.

    Returns:
        The pictures, and what to say of them.
    """
    with reading(path), Image.open(path) as opened:
        # A telephone's JPEG (MPO) may hold a second picture for screens, which is none of the data.
        count = getattr(opened, "n_frames", 1) if opened.format != "MPO" else 1
        if count > 1 and opened.format != "TIFF":
            raise Refusal(
                f"{path} holds {count} frames, but expected one picture; save each frame as a file"
            )
        notes = ["colours of 16 bits read as 8"] if _is_shallow(opened) else []
        found = []
        for page in range(count):
            if count > 1:
                opened.seek(page)
            found.append(_pixels(ImageOps.exif_transpose(opened), size, grey))
        return found, notes


def page_names(path: Path, count: int) -> list[str]:
    """What names each page of a file in the sentence of an error."""
    return [str(path)] if count == 1 else [f"{path}, page {i}," for i in range(1, count + 1)]


def stacked(names: Sequence[str], pictures: Sequence[Array], *, grey: bool | None = None) -> Array:
    """Pictures of one size as (N, 1, H, W) if all are grey, or else as (N, 3, H, W).

    Args:
        names: What names each in the sentence of an error.
        pictures: The pictures, (H, W) or (H, W, 3).
        grey: False gives three channels to grey pictures, too.

    Raises:
        ValueError: If one has another size than the first, or another kind of numbers.
    """
    for name, picture in zip(names, pictures, strict=True):
        if picture.shape[:2] != pictures[0].shape[:2]:
            raise ValueError(
                f"{name} is {picture.shape[:2]}, but {names[0]} is {pictures[0].shape[:2]} "
                "(height, width); give size= of folder() to bring all pictures to one size"
            )
    depths = {picture.dtype for picture in pictures}
    if depths == {np.dtype(np.uint8), np.dtype(np.uint16)}:  # 257 = 65535 / 255
        pictures = [p.astype(np.uint16) * (257 if p.dtype == np.uint8 else 1) for p in pictures]
    elif len(depths) > 1:
        raise ValueError(
            f"{names[0]} and the others hold {', '.join(sorted(map(str, depths)))}, but expected "
            "one kind of numbers in all pictures; convert them to 8 or 16 bits"
        )
    if grey is not False and all(picture.ndim == 2 for picture in pictures):
        return np.stack(pictures)[:, None]
    three = [p if p.ndim == 3 else np.stack([p] * 3, -1) for p in pictures]
    return np.stack([np.moveaxis(p, -1, 0) for p in three])


def _pixels(picture: Image.Image, size: int | None, grey: bool) -> Array:
    if picture.mode.startswith("I;16"):  # of either order of bytes
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16))
    elif picture.mode not in ("I", "F"):
        picture = picture.convert("L" if grey or picture.mode in _GREY else "RGB")
    if size is not None:
        picture = ImageOps.fit(picture, (size, size))
    return np.asarray(picture)


def _is_shallow(opened: Image.Image) -> bool:
    """Whether Pillow will read 8 of 16 bits, as it does of colours."""
    tiles = getattr(opened, "tile", ())
    return opened.mode.startswith("RGB") and any(";16" in str(tile[3]) for tile in tiles)
