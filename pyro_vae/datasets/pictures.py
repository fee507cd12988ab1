"""Your own data: a folder of pictures."""

import os
from pathlib import Path

import numpy as np

from .binarization import binarizer
from .conversion import hold_out, to_split
from .photographs import FINE_NORMAL
from .reading import Array, reading
from .split import Dataset

__all__ = ["folder"]

_ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def folder(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    grey: bool = False,
    binarize: str | None = None,
) -> Dataset:
    """A folder of pictures: x is (3, H, W), or (1, H, W) if `grey`, from 0 to 1.

    If the pictures lie in subfolders, these are the classes, in alphabetical order. A fixed
    permutation splits 80/10/10. Transparency is dropped. The likelihood is that of photographs, a
    Normal with one learned scale.

    Args:
        path: The folder; hidden files and what is not a picture by its name are passed over.
        size: Every picture is cropped to its central square and resized to (size, size); None takes
            them as they are, and all must have one size.
        grey: Whether to drop the colours.
        binarize: See `pyro_vae.datasets.binarization`.

    Raises:
        FileNotFoundError: If there is no such folder or no picture in it.
        ValueError: If a picture is damaged, has more than 8 bits a channel or another size than the
            first, or an argument is wrong.
    """
    binarized, path = binarizer(binarize), Path(path)
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1, but is {size}")
    files, labels = _find(path)
    pixels = [_picture(file, size, "L" if grey else "RGB") for file in files]
    for file, picture in zip(files, pixels, strict=True):
        if picture.shape != pixels[0].shape:
            raise ValueError(
                f"{file} is {picture.shape[1:]}, but {files[0]} is {pixels[0].shape[1:]} (height, "
                "width); give size= to bring all pictures to one size"
            )
    whole = to_split(str(path), np.stack(pixels), labels, scale=255)
    train, valid, test = hold_out(str(path), whole, 2)
    return binarized(Dataset(path.resolve().name, train, valid, test, FINE_NORMAL))


def _find(path: Path) -> tuple[list[Path], Array | None]:
    found = sorted(
        file.relative_to(path)
        for home, _, names in os.walk(path, followlinks=True)
        for file in (Path(home, name) for name in names)
        if file.suffix.lower() in _ENDINGS
    )
    found = [file for file in found if not any(part.startswith(".") for part in file.parts)]
    if not found:
        raise FileNotFoundError(
            f"{path} is no folder with pictures; expected a folder with files "
            f"{', '.join(sorted(_ENDINGS))}, or with subfolders of them"
        )
    files = [path / file for file in found]
    nested = [len(file.parts) > 1 for file in found]
    if not any(nested):
        return files, None
    if not all(nested):
        raise ValueError(
            f"{path} has pictures beside its subfolders of pictures; put all into subfolders, one "
            "a class, or none"
        )
    classes = sorted({file.parts[0] for file in found})
    return files, np.array([classes.index(file.parts[0]) for file in found])


def _picture(file: Path, size: int | None, mode: str) -> Array:
    from PIL import Image, ImageOps

    with reading(file), Image.open(file) as opened:
        depth, picture = opened.mode, ImageOps.exif_transpose(opened).convert(mode)
    if depth.startswith(("I", "F")):  # conversion would clip them at 255
        raise ValueError(f"{file} has {depth} pixels; convert it to 8 bits a channel")
    if size is not None:
        picture = ImageOps.fit(picture, (size, size))
    return np.moveaxis(np.atleast_3d(np.asarray(picture)), -1, 0)  # (C, H, W)
