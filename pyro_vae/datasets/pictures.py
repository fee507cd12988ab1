"""Your own data: a folder of pictures."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .assembly import Raw, Wishes, assembled
from .dataset import Dataset
from .photographs import FINE_NORMAL
from .picture_files import page_names, read_pictures, stacked
from .signatures import PICTURES
from .split import PARTS

__all__ = ["folder"]

_PARTS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}


def folder(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    grey: bool | None = None,
    scale: float | None = None,
    standardize: bool = False,
    binarize: str | None = None,
    labels: int | None = None,
    missing: float = 0.0,
) -> Dataset:
    """A folder of pictures: x is (3, H, W), or (1, H, W) if all are grey, from 0 to 1.

    If the pictures lie in subfolders, these are the classes, in alphabetical order. A fixed
    permutation splits 80/10/10. If the subfolders are train and test, and perhaps valid (or val),
    they are the parts, each with pictures or with the subfolders of classes; without valid a fixed
    tenth of train is for validation.

    8 bits are divided by 255, and 16 bits of grey by 65,535; of colours of 16 bits the upper 8 are
    read. Every page of a TIFF file is a picture. Transparency is dropped. The likelihood is that of
    photographs, a Normal with one learned scale, or Bernoulli for black and white.
    `Dataset.description` says what was found.

    Args:
        path: The folder; what is not a picture by its name is passed over, and it is said; so are
            hidden files.
        size: Every picture is cropped to its central square and resized to (size, size); None takes
            them as they are, and all must have one size.
        grey: True drops the colours, and False gives three channels to grey pictures, too.
        scale: Divides the pixels, in place of the white of their depth.
        standardize: Brings each channel to mean 0 and standard deviation 1 by the training part.
        binarize: See `pyro_vae.datasets.binarization`.
        labels: How many training pictures keep their label; see `pyro_vae.datasets.labels`.
        missing: The share of all pixels to hide, completely at random, by a fixed draw.

    Raises:
        FileNotFoundError: If there is no such folder or no picture in it.
        ValueError: If a picture is damaged or has another size than the first, if the folders are
            neither classes nor parts, or an argument is wrong.
    """
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1, but is {size}")
    wishes = Wishes(scale, standardize, None, binarize, labels, missing)
    path = Path(path).expanduser()
    found, others = _find(path)
    parts = _parts(path, found)
    raw, notes = {}, dict[str, None]()
    for part, files in parts.items():
        raw[part], about = _raw(path, files, int(part != ""), size, grey)
        notes |= dict.fromkeys(about)
    if others:
        more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
        notes[f"no pictures, and passed over: {', '.join(map(str, others[:3]))}{more}"] = None
    return assembled(
        path.resolve().name, str(path), raw, wishes, notes=list(notes), grey=FINE_NORMAL
    )


def _find(path: Path) -> tuple[list[Path], list[Path]]:
    """The pictures and the other files, by their paths below the folder."""
    there = sorted(
        Path(home, name).relative_to(path)
        for home, _, names in os.walk(path, followlinks=True)
        for name in names
    )
    there = [file for file in there if not any(part.startswith(".") for part in file.parts)]
    found = [file for file in there if file.suffix.lower() in PICTURES]
    if not found:
        kind = "a file," if path.is_file() else "no folder with pictures;"
        raise FileNotFoundError(
            f"{path} is {kind} expected a folder with files "
            f"{', '.join(PICTURES)}, or with subfolders of them"
        )
    return found, [file for file in there if file.suffix.lower() not in PICTURES]


def _parts(path: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each part, or of "", the whole, by their paths below the folder."""
    tops = sorted({file.parts[0] if len(file.parts) > 1 else "" for file in files})
    named = {top: _PARTS[top.lower()] for top in tops if top.lower() in _PARTS}
    if not named:
        return {"": list(files)}
    parts = [part for part in PARTS if part in named.values()]
    if len(named) < len(tops) or len(parts) < len(tops) or not {"train", "test"} <= set(parts):
        found = ", ".join(repr(top) if top else "pictures of its own" for top in tops)
        raise ValueError(
            f"{path} has {found}, but expected subfolders train and test (with valid) alone, or "
            "none of these names; rename them, or give one of them to folder()"
        )
    return {part: [f for f in files if named[f.parts[0]] == part] for part in parts}


def _raw(
    path: Path, files: Sequence[Path], depth: int, size: int | None, grey: bool | None
) -> tuple[Raw, list[str]]:
    """The pictures of a part, the names of their classes if there are, and what to say of them.

    Args:
        path: The folder given.
        files: The files, by their paths below it.
        depth: The number of folders above the classes.
        size: See `folder`.
        grey: See `folder`.
    """
    pages, homes, names = [], [], list[str]()
    notes, several = dict[str, None](), list[str]()
    for file in files:
        pictures, about = read_pictures(path / file, size, bool(grey))
        pages += pictures
        homes += [file] * len(pictures)
        names += page_names(path / file, len(pictures))
        notes |= dict.fromkeys(about)
        several += [f"{file} has {len(pictures)} pages"] if len(pictures) > 1 else []
    more = f", and {len(several) - 1:,} more files have several" if len(several) > 1 else ""
    notes |= {several[0] + more: None} if several else {}
    x = stacked(names, pages, grey=grey)
    nested = {len(file.parts) > depth + 1 for file in files}
    if len(nested) > 1:
        raise ValueError(
            f"{path.joinpath(*files[0].parts[:depth])} has pictures beside its subfolders of "
            "pictures; put all into subfolders, one a class, or none"
        )
    if nested == {False}:
        return Raw(x), list(notes)
    classes = [home.parts[depth] for home in homes]
    if len(set(classes)) == 1 and not depth:
        return Raw(x), [*notes, f"the one subfolder {classes[0]!r} is no class"]
    return Raw(x, np.array(classes)), list(notes)
