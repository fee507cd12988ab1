"""Files with empty cells, or arrays with NaN, filled in by a trained program."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.reading import reading
from pyro_vae.datasets.spreadsheets import Sheet, is_sheet, read_cells, read_sheet
from pyro_vae.datasets.table_format import TableFormat
from pyro_vae.inference import Imputation, impute
from pyro_vae.program import ProgramModule

from .files import COLUMNS
from .run import Run
from .writing import write_whole

__all__ = ["fill"]


def fill(
    program: ProgramModule, run: Run, source: Path, out: Path, **options: Any
) -> tuple[Imputation, list[Path]]:
    """Fills in what a file lacks, and writes the whole, in the layout that it came in.

    Args:
        program: The trained program of the run.
        run: The run.
        source: A table of the columns that the program was trained on, or an .npy array of data,
            NaN where they are missing, in the numbers that it was trained on.
        out: What to write: the file filled in. Several imputations are written beside it, as
            out-1.csv, out-2.csv, ....
        options: As of `pyro_vae.inference.impute`.

    Returns:
        What was filled in, and the files.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not fit the run, or `out` has another ending.
    """
    if out.suffix.lower() != source.suffix.lower():
        raise ValueError(
            f"{source} is filled in as what it is, but {out} ends in {out.suffix!r}; let it end in "
            f"{source.suffix!r}"
        )
    layout: _Array | _Table
    if source.suffix.lower() == ".npy":
        x, layout = _array(run, source), _Array()
    elif is_sheet(source) and source.suffix.lower() != ".gz":
        x, layout = _Table.of(run, source)
    else:
        raise ValueError(f"{source} is neither a table, such as a .csv file, nor an .npy array")
    found = impute(program, x, **options)
    several = [out.with_name(f"{out.stem}-{i}{out.suffix}") for i in range(1, len(found.draws) + 1)]
    paths = [out, *several]
    for path, filled in zip(paths, (found.x, *found.draws), strict=True):
        write_whole(path, layout.content(x, filled))
    return found, paths


class _Array:
    """Data as an array of numbers."""

    def content(self, x: Tensor, filled: Tensor) -> bytes:
        """The bytes of an .npy file."""
        file = io.BytesIO()
        np.save(file, filled.numpy())
        return file.getvalue()


@dataclass(frozen=True)
class _Table:
    """Data as the cells of a table.

    Args:
        columns: What the columns of x are.
        sheet: The table as it is read.
        delimiter: What parts its cells.
        rows: The cells of each line, the header's first if there is one.
    """

    columns: TableFormat
    sheet: Sheet
    delimiter: str
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, run: Run, source: Path) -> "tuple[Tensor, _Table]":
        """A table of the columns of a run, as x and as it stands in its file."""
        path = run.folder / COLUMNS
        if not path.is_file():
            raise ValueError(
                f"{run.folder} was trained on {run.config.data}, of which it is not known what the "
                f'columns of {source} are; train on --data "table({str(source)!r})"'
            )
        columns, sheet = TableFormat.load(path), read_sheet(source)
        return columns.numbers(str(source), sheet), cls(columns, sheet, *read_cells(source))

    def content(self, x: Tensor, filled: Tensor) -> bytes:
        """The bytes of the table with its empty cells filled in; the others stay as they are."""
        rows = [list(cells) for cells in self.rows]
        below = rows[int(self.sheet.header) :]
        head = [name.strip() for name in rows[0]] if self.sheet.header else self.sheet.names
        for i, cells in enumerate(self.columns.cells(filled)):
            name = self.columns.columns[i].name
            place, words = head.index(name), _words(below, head.index(name))
            for row in x[:, i].isnan().nonzero()[:, 0].tolist():
                below[row][place] = words.get(cells[row], cells[row])
        file = io.StringIO()
        csv.writer(file, delimiter=self.delimiter, lineterminator="\n").writerows(rows)
        return file.getvalue().encode()


def _words(rows: Sequence[Sequence[str]], place: int) -> dict[str, str]:
    """How a column writes 1 and 0, if not so."""
    found = {row[place].strip().lower(): row[place].strip() for row in rows}
    words = {"1": found.get("true", ""), "0": found.get("false", "")}
    return {number: word for number, word in words.items() if word}


def _array(run: Run, source: Path) -> Tensor:
    with reading(source):
        x = np.load(source, allow_pickle=False)
    x_shape = run.known["x_shape"]
    if x.dtype.kind != "f" or x.shape[1:] != x_shape:
        raise ValueError(
            f"{source} has shape {x.shape} and dtype {x.dtype}, but {run.folder} was trained on "
            f"data of shape {x_shape}; give floating numbers (N, {', '.join(map(str, x_shape))})"
        )
    return torch.from_numpy(x)
