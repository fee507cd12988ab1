"""Your own table of columns of different kinds, with cells that are empty."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pyro_vae import likelihoods
from pyro_vae.likelihoods import LogNormal, Nominal, Normal, Ordinal, Poisson

from .conversion import hold_out
from .dataset import Dataset
from .missing import check_missing, hide
from .reading import Array
from .split import Split
from .spreadsheets import Sheet, is_sheet, read_sheet
from .table_format import SCALED, TableColumn, TableFormat

__all__ = ["table"]

_MOST_CLASSES = 100  # of texts; what has more is a name
_LARGEST_COUNT = 20  # beyond, numbers are real ones: the rate is the exp of what a network gives


def table(
    path: str | os.PathLike[str],
    *,
    kinds: Mapping[str, type[nn.Module]] | None = None,
    without: str | Sequence[str] = (),
    missing: float = 0.0,
) -> Dataset:
    """Your own table, a .csv, .tsv or .txt file, whose columns are of different kinds.

    Each column has a likelihood: `Nominal` if its cells are texts, or numbers of two values;
    `Poisson` if they are whole numbers from 0 to 20 at most; else `Normal`. What it is taken for
    stands in `Dataset.description`, and `kinds` says otherwise. Real columns are standardized by
    the training part, those of a `LogNormal` by their logarithm. An empty cell, NA, NaN, null, none
    or ? is missing. A fixed permutation splits the rows 80/10/10. There are no labels: a column of
    classes is a column like others.

    The natural likelihood is `Mixed`, which leaves out what is missing; the encoder is to be
    `ZeroImputed`. `Dataset.table` turns rows of x into cells again.

    Args:
        path: The file, read as by `arrays`.
        kinds: The likelihood of some columns, by name: a class of `pyro_vae.likelihoods` such as
            `Ordinal`, whose classes are numbered in the order of the numbers, or of the alphabet.
        without: The names of columns that are no data, such as names of people and dates.
        missing: The share of entries to hide, completely at random, by a fixed draw.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such table, with what to do: lines of different lengths; a column
            with nothing in it, or with one value alone; texts among numbers; too many texts.
    """
    check_missing(missing)
    path = Path(path).expanduser()
    if not is_sheet(path):
        raise ValueError(f"{path} is no table; give a .csv, .tsv or .txt file, or take arrays()")
    source, sheet = str(path), read_sheet(path)
    left_out = (without,) if isinstance(without, str) else tuple(without)
    kinds = {} if kinds is None else dict(kinds)
    _check_names(source, sheet, {"without": left_out, "kinds": kinds})
    names = [name for name in sheet.names if name not in left_out]
    if not names:
        raise ValueError(
            f"{source} has no columns but those of without={list(left_out)}; keep some"
        )
    rows = Split(torch.arange(len(sheet.columns[0]))[:, None].float())
    parts = [part.x[:, 0].long() for part in hold_out(source, rows, 2)]
    cells = {name: sheet.columns[sheet.names.index(name)] for name in names}
    columns = [
        _column(source, name, cells[name], parts[0].numpy(), kinds.get(name)) for name in names
    ]
    found = TableFormat(tuple(columns), left_out, sheet.header)
    x = found.numbers(source, sheet)
    splits = [hide(Split(x[part]), missing, seed) for seed, part in enumerate(parts)]
    train, valid, test = splits
    notes = f"columns {', '.join(map(_words, columns))}; {int(x.isnan().sum()):,} cells are empty"
    notes += f"; {missing:.3g} of all entries hidden" if missing else ""
    likelihood = found.likelihood()
    return Dataset(
        path.stem.removesuffix(".csv"), train, valid, test, likelihood, notes=notes, table=found
    )


def _column(
    source: str, name: str, cells: Array, train: Array, kind: type[nn.Module] | None
) -> TableColumn:
    """What a column is, as it is asked for or guessed."""
    is_text = cells.dtype.kind != "f"
    there = cells[cells != ""] if is_text else cells[~np.isnan(cells)]
    of_train = cells[train]
    in_train = of_train[of_train != ""] if is_text else of_train[~np.isnan(of_train)]
    if not len(in_train):
        raise ValueError(
            f"{source} has nothing in column {name!r} of the training part, but expected some "
            f"cells; leave it out with without=[{name!r}]"
        )
    values = np.unique(there)
    if len(values) < 2:
        raise ValueError(
            f"{source} has {str(values[0])!r} alone in column {name!r}, of which nothing is to be "
            f"learned; leave it out with without=[{name!r}]"
        )
    kind = _guess(source, name, there, values) if kind is None else kind
    if kind in (Nominal, Ordinal):
        if len(values) > _MOST_CLASSES:
            raise ValueError(
                f"{source} has {len(values):,} different cells in column {name!r}, but expected no "
                f"more than {_MOST_CLASSES} classes; leave it out with without=[{name!r}]"
            )
        classes = tuple(str(v) if is_text else f"{v:.15g}" for v in values)
        return TableColumn(name, kind.__name__, classes)
    if is_text:
        TableColumn(name, kind.__name__).numbers(source, cells)  # which refuses the text
    whole = bool((there == np.floor(there)).all())
    log = kind is LogNormal
    if kind.__name__ not in (*SCALED, "HeteroscedasticNormal"):
        return TableColumn(name, kind.__name__, whole=whole)
    if log and (there <= 0).any():
        TableColumn(name, kind.__name__, log=True).numbers(source, cells)
    numbers = np.log(in_train) if log else in_train
    scale = float(numbers.std()) or 1.0
    return TableColumn(name, kind.__name__, (), float(numbers.mean()), scale, log, whole)


def _guess(source: str, name: str, there: Array, values: Array) -> type[nn.Module]:
    """The likelihood of a column whose cells that are there take some values."""
    if there.dtype.kind != "f":
        numbers = [cell for cell in there if _is_number(cell.replace(",", "."))]
        if 2 * len(numbers) > len(there):
            text = next((cell for cell in there if not _is_number(cell)), "")
            commas = _is_number(text.replace(",", ".", 1))
            advice = "write decimal points" if commas else "write a number, or empty the cell"
            raise ValueError(
                f"{source} has the text {str(text)!r} among the numbers of column {name!r}; "
                f"{advice}, or give kinds={{{name!r}: Nominal}} if the cells are classes"
            )
        return Nominal
    if len(values) == 2:
        return Nominal
    whole = (values == np.floor(values)).all()
    return Poisson if whole and values[0] >= 0 and values[-1] <= _LARGEST_COUNT else Normal


def _check_names(source: str, sheet: Sheet, given: Mapping[str, Any]) -> None:
    for argument, names in given.items():
        unknown = [name for name in names if name not in sheet.names]
        if unknown:
            raise ValueError(
                f"{source} has no column {unknown[0]!r}, of which {argument} speaks; its columns "
                f"are {', '.join(map(repr, sheet.names))}"
            )
    parts = [getattr(likelihoods, name) for name in likelihoods.__all__]
    for name, kind in given["kinds"].items():
        if kind not in parts:
            raise ValueError(
                f"the kind of column {name!r} is {kind!r}, but must be a class of likelihoods, "
                "such as Normal, LogNormal, Poisson, Nominal or Ordinal"
            )


def _words(column: TableColumn) -> str:
    classes = f", {len(column.classes)} classes" if column.classes else ""
    return f"{column.name!r} ({column.likelihood}{classes})"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
