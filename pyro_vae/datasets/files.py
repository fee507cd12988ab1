"""Your own data: arrays and tables in a file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyro_vae.likelihoods import ContinuousBernoulli

from .archives import ARCHIVES, named, read_arrays
from .assembly import Raw, Wishes, assembled
from .columns import data_and_labels, labels_alone
from .dataset import Dataset
from .naming import LABELS, Roles
from .on_disk import mapped, read_as_one_goes
from .picture_files import page_names, read_pictures, stacked
from .reading import Array
from .signatures import PICTURES
from .spreadsheets import SPREADSHEETS, is_sheet, read_sheet

__all__ = ["arrays"]

_PAGES = (".tif", ".tiff")
_ENDINGS = ARCHIVES + SPREADSHEETS + _PAGES


def arrays(
    path: str | os.PathLike[str],
    *,
    x: str | int | Sequence[str | int] | None = None,
    y: str | int | None = None,
    without: str | int | Sequence[str | int] = (),
    scale: float | None = None,
    standardize: bool = False,
    x_shape: Sequence[int] | None = None,
    binarize: str | None = None,
    labels: int | None = None,
    missing: float = 0.0,
    in_memory: bool = True,
) -> Dataset:
    """Your own data from an .npy, .npz, .pt, .csv, .tsv, .txt or .tif file.

    `Dataset.description`, which the command line prints, says what they were taken for. Pickled
    objects are never read.

    An archive (.npz, .pt) has one array, which a fixed permutation splits 80/10/10, with labels if
    there are (x and y, images and labels, data and targets, or a tuple of both without names); or
    x_train and x_test, or train and test, with y_train and y_test. Then x_valid, or valid, is the
    validation part, or a fixed tenth of the training data where there is none. A table (.csv, .tsv,
    .txt) has one item a line, and its labels in the column y, label, target or class, if there is
    one. A .tif file has one picture a page.

    Numbers become float32. Grey levels are divided by that of white: uint8 by 255, and whole
    numbers of any type by 255 if the largest of pictures is from 128 to 255, or a table reaches
    from 0 to 255, and by 65,535 if the largest of pictures is from 32,768 on. Others stay as they
    are, and are refused beyond 100 and below 1/100, where networks fail, until you give
    `standardize` or `scale`. NaN is a missing entry. (N, D) stays so, (N, H, W) becomes
    (N, 1, H, W), and (N, H, W, C) becomes (N, C, H, W) if only the last size is 1, 3 or 4.

    Labels (N,) are classes if they are whole numbers or texts, numbered from 0 on in their order;
    -1 is a missing one, and so is an empty text or cell. Floating numbers, of which NaN is missing,
    are classes if they are all of 0, 1, ... or of 1, 2, ..., and otherwise conditions, where (N,)
    becomes (N, 1).

    The likelihood is Bernoulli for zeros and ones, ContinuousBernoulli for numbers in [0, 1],
    Normal for others, and `Mixed` of these where entries are missing.

    Args:
        path: The file.
        x: The array of an archive that is the data, or the columns of a table, by name or place.
        y: The array or the column that is the labels; or another file that holds them.
        without: Columns of a table to leave out, by name or place.
        scale: Divides the data, in place of the rule above; 1 takes them as they are.
        standardize: Brings each column of a table, or channel of pictures, to mean 0 and standard
            deviation 1 by those of the training part of this file.
        x_shape: The shape of a datum, where the file has it flat, or pictures are sequences: rows
            of 784 pixels with x_shape=(1, 28, 28), (N, 50, 8) with x_shape=(50, 8).
        binarize: See `pyro_vae.datasets.binarization`; the data must then lie in [0, 1].
        labels: How many training items keep their label; see `pyro_vae.datasets.labels`.
        missing: The share of all entries to hide, completely at random, by a fixed draw.
        in_memory: False leaves the array of an .npy file on disk, and reads its rows a batch at a
            time; what they are taken for is judged by 500 of them. The parts are then of type
            `DataSource`, and standardize, binarize, labels and missing cannot be had.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold such data, or an argument is wrong.
    """
    wishes = Wishes(scale, standardize, x_shape, binarize, labels, missing)
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be the path of a file, in quotes, but is {path!r}")
    path = Path(path).expanduser()
    other = _other_file(y)
    if not in_memory:
        return _on_disk(path, x, y, without, wishes)
    raw, columns, notes = _read(path, x, None if other else y, without)
    if other is not None:
        if "" not in raw:
            raise ValueError(
                f"{path} has parts, which the one file of labels {other} cannot tell apart; save "
                "the labels beside them as y_train and y_test"
            )
        raw = {part: Raw(found.x, _labels(other)) for part, found in raw.items()}
        notes.append(f"labels from {other}")
    return assembled(
        path.stem.removesuffix(".csv"),
        str(path),
        raw,
        wishes,
        columns=columns,
        label_column=y if isinstance(y, str) and other is None else "y",
        notes=notes,
    )


def _on_disk(path: Path, x: Any, y: str | int | None, without: Any, wishes: Wishes) -> Dataset:
    other = _other_file(y)
    if x is not None or without or (y is not None and other is None):
        raise ValueError(
            f"x={x!r}, y={y!r} and without={without!r} choose among what a file holds, but "
            "in_memory=False reads the one array of an .npy file; its labels may stand in another "
            "file, as y='labels.npy'"
        )
    reader = mapped(path, None if other is None else _labels(other))
    notes = [] if other is None else [f"labels from {other}"]
    return read_as_one_goes(
        path.stem, str(path), {"": reader}, wishes, notes=notes, grey=ContinuousBernoulli
    )


def _read(
    path: Path,
    x: str | int | Sequence[str | int] | None,
    y: str | int | None,
    without: str | int | Sequence[str | int],
) -> tuple[dict[str, Raw], list[str], list[str]]:
    """The arrays of a file, what its columns are called, and what to say of it."""
    ending = path.suffix.lower()
    if path.is_dir():
        raise ValueError(f"{path} is a folder, but expected a file; folder() reads pictures")
    if is_sheet(path):
        raw, columns, notes = data_and_labels(str(path), read_sheet(path), x, y, without)
        return {"": raw}, columns, notes
    if without or not (isinstance(x, str | None) and isinstance(y, str | None)):
        raise ValueError(
            f"x={x!r}, y={y!r} and without={without!r} choose columns of a table, but {path} is "
            "none; give the name of one array for x and y each"
        )
    if ending in ARCHIVES:
        roles = Roles(str(path), x, y)
        found, names = read_arrays(path, roles.choose)
        unused = [name for name in names if name not in found]
        return roles.parts(found), [], [f"not used: {', '.join(unused)}"] if unused else []
    if ending in _PAGES:
        pages, notes = read_pictures(path)
        raw = Raw(stacked(page_names(path, len(pages)), pages))
        return {"": raw}, [], [f"{len(pages):,} pages of one file", *notes]
    advice = "folder() reads pictures" if ending in PICTURES else "save the data so"
    raise ValueError(
        f"{path} ends in {path.suffix!r}, but expected {', '.join(_ENDINGS[:-1])} or "
        f"{_ENDINGS[-1]}; {advice}"
    )


def _other_file(y: str | int | None) -> Path | None:
    """The file of labels, if `y` names one."""
    if isinstance(y, str) and (Path(y).suffix.lower() in ARCHIVES or is_sheet(Path(y))):
        return Path(y).expanduser()
    return None


def _labels(path: Path) -> Array:
    """The labels of a file that holds them alone, or under a name of labels."""
    if is_sheet(path):
        return labels_alone(str(path), read_sheet(path))
    found, _ = read_arrays(path, lambda names: names if len(names) == 1 else named(LABELS)(names))
    if len(found) != 1:
        raise ValueError(
            f"{path} holds {', '.join(found) or 'no labels'}, but expected one array, or one that "
            "is called y; save the labels so"
        )
    return next(iter(found.values()))
