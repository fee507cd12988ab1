"""Writing labelled data in the layouts that `arrays` and `folder` read."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyro_vae.datasets import Dataset, Split

from .writing import write_whole

__all__ = ["check_layout", "write_data"]


def check_layout(path: Path, dataset: Dataset) -> None:
    """Refuses a path or data that `write_data` would refuse, before anything is made.

    Raises:
        ValueError: If the path has another ending, or the data do not fit its layout; if a folder
            holds something already.
    """
    ending = path.suffix.lower()
    if ending not in _WRITERS:
        raise ValueError(
            f"{path} ends in {ending!r}, but data are written as "
            f"{', '.join(filter(None, _WRITERS))}, or as a folder of pictures, without an ending"
        )
    if dataset.vocabulary is not None:
        raise ValueError(f"the data of {dataset.name} are texts, of which no arrays are written")
    if ending:
        return
    if len(dataset.x_shape) != 3 or dataset.x_shape[0] not in (1, 3):
        raise ValueError(
            f"data of shape {dataset.x_shape} are no pictures, so {path} cannot be a folder of "
            f"them; give a file that ends in {' or '.join(filter(None, _WRITERS))}"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} holds something already; give --out another folder")


def write_data(path: Path, made: Split, dataset: Dataset) -> Path:
    """Writes data with their labels, in the numbers and under the names of a data set's file.

    - `.npz` and `.pt`: arrays x and y;
    - `.csv` and `.tsv`: a column for each number of a datum, and one of labels;
    - a folder: a subfolder of pictures, PNG, for each label.

    Args:
        path: Where.
        made: Data as the data set has them, with classes for labels.
        dataset: What they are like.

    Raises:
        ValueError: As `check_layout`.
    """
    check_layout(path, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[path.suffix.lower()](path, made, dataset)
    return path


def _numbers(made: Split, dataset: Dataset) -> np.ndarray:
    x, origin = dataset.origin.restored(made.x).numpy(), dataset.origin
    if not origin.whole:
        return x
    return x.astype(np.uint8 if origin.scale <= 255 else np.uint16)


def _labels(made: Split) -> Tensor:
    return torch.full((len(made),), -1) if made.y is None else made.y


def _names(made: Split, dataset: Dataset) -> list[str]:
    return [dataset.label_name(label) for label in _labels(made).tolist()]


def _write_npz(path: Path, made: Split, dataset: Dataset) -> None:
    y = np.array(_names(made, dataset)) if dataset.label_names else _labels(made).numpy()
    content = io.BytesIO()
    np.savez_compressed(content, x=_numbers(made, dataset), y=y)
    write_whole(path, content.getvalue())


def _write_pt(path: Path, made: Split, dataset: Dataset) -> None:
    content = io.BytesIO()
    torch.save({"x": torch.from_numpy(_numbers(made, dataset)), "y": _labels(made)}, content)
    write_whole(path, content.getvalue())


def _write_table(path: Path, made: Split, dataset: Dataset) -> None:
    rows = _numbers(made, dataset).reshape(len(made), -1)
    columns: Sequence[str] = dataset.origin.columns
    if len(columns) != rows.shape[1]:
        columns = [f"x{i}" for i in range(rows.shape[1])]
    text = io.StringIO()
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([*columns, dataset.origin.label_column])
    for row, name in zip(rows.tolist(), _names(made, dataset), strict=True):
        writer.writerow([*(f"{number:.7g}" for number in row), name])
    write_whole(path, text.getvalue().encode())


def _write_folder(path: Path, made: Split, dataset: Dataset) -> None:
    levels = _numbers(made, dataset).astype(np.float64)
    white = dataset.origin.scale if dataset.origin.whole else 1
    pixels = (levels / white * 255).round().clip(0, 255).astype(np.uint8)
    width = len(str(len(made)))
    for number, (picture, name) in enumerate(zip(pixels, _names(made, dataset), strict=True)):
        home = path / name
        home.mkdir(parents=True, exist_ok=True)
        shown = picture[0] if len(picture) == 1 else np.moveaxis(picture, 0, -1)
        Image.fromarray(shown).save(home / f"{number:0{width}}.png")


_WRITERS: dict[str, Callable[[Path, Split, Dataset], None]] = {
    ".npz": _write_npz,
    ".pt": _write_pt,
    ".csv": _write_table,
    ".tsv": _write_table,
    "": _write_folder,
}
