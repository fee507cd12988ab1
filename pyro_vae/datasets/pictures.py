"""Your own data: a folder of pictures."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .assembly import Raw, Wishes, assembled
from .dataset import Dataset
from .on_disk import Reader, read_as_one_goes
from .photographs import FINE_NORMAL
from .picture_files import page_names, read_pictures, stacked
from .reading import Array
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
    in_memory: bool = True,
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
        in_memory: False reads the files a batch at a time, as they are needed; what they are taken
            for is judged by 500 of them. The parts are then of type `DataSource`, each file is one
            picture, and standardize, binarize, labels and missing cannot be had.

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
    more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
    passed = f"no pictures, and passed over: {', '.join(map(str, others[:3]))}{more}"
    name, source, last = path.resolve().name, str(path), [passed] if others else []
    if not in_memory:
        readers = {p: _reader(path, files, int(p != ""), size, grey) for p, files in parts.items()}
        return read_as_one_goes(name, source, readers, wishes, notes=last, grey=FINE_NORMAL)
    raw, notes = {}, dict[str, None]()
    for part, files in parts.items():
        raw[part], about = _raw(path, files, int(part != ""), size, grey)
        notes |= dict.fromkeys(about)
    return assembled(name, source, raw, wishes, notes=[*notes, *last], grey=FINE_NORMAL)


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
    classes = _classes(path, homes, depth)
    if classes is not None and len(set(classes)) == 1 and not depth:
        return Raw(x), [*notes, f"the one subfolder {classes[0]!r} is no class"]
    return Raw(x, None if classes is None else np.array(classes)), list(notes)


def _classes(path: Path, homes: Sequence[Path], depth: int) -> list[str] | None:
    """The subfolder of each picture; None if there are no subfolders."""
    nested = {len(home.parts) > depth + 1 for home in homes}
    if len(nested) > 1:
        raise ValueError(
            f"{path.joinpath(*homes[0].parts[:depth])} has pictures beside its subfolders of "
            "pictures; put all into subfolders, one a class, or none"
        )
    return [home.parts[depth] for home in homes] if nested == {True} else None


def _reader(
    path: Path, files: Sequence[Path], depth: int, size: int | None, grey: bool | None
) -> Reader:
    """What reads the pictures of a part one by one, all as the first one is; see `_raw`."""
    classes = _classes(path, files, depth)
    one_class = classes is not None and len(set(classes)) == 1 and not depth
    y = None if classes is None or one_class else np.array(classes)
    first = _picture(path / files[0], size, bool(grey))
    coloured = grey is False or first.ndim == 3

    def read(rows: Array) -> Array:
        names = [path / files[row] for row in rows.tolist()]
        pictures = [_picture(name, size, bool(grey)) for name in names]
        for name, picture in zip(names, pictures, strict=True):
            if picture.dtype != first.dtype or (picture.ndim == 3 and not coloured):
                raise ValueError(
                    f"{name} is {_kind(picture)}, but {path / files[0]} is {_kind(first)}; give "
                    "grey=True or grey=False, or convert the pictures to one kind"
                )
        shown = [str(path / files[0]), *map(str, names)]  # the first sets the size of all
        return stacked(shown, [first, *pictures], grey=False if coloured else None)[1:]

    return Reader(len(files), read, y)


def _picture(path: Path, size: int | None, grey: bool) -> Array:
    pictures, _ = read_pictures(path, size, grey)
    if len(pictures) > 1:
        raise ValueError(
            f"{path} has {len(pictures)} pages, but in_memory=False takes each file for one "
            "picture; save each page as a file"
        )
    return pictures[0]


def _kind(picture: Array) -> str:
    return f"{'coloured' if picture.ndim == 3 else 'grey'} ({picture.dtype})"
