"""Tables of your own in text files: columns of numbers, with or without a header."""

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .reading import Array, Refusal, reading

__all__ = ["SPREADSHEETS", "Sheet", "is_sheet", "read_cells", "read_sheet"]

SPREADSHEETS = (".csv", ".tsv", ".txt", ".csv.gz")
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


@dataclass(frozen=True)
class Sheet:
    """A table as it is read.

    Args:
        names: Of the columns; their places, from 0, where there is no header.
        columns: Numbers in float64 with NaN where one is missing, or texts.
        header: Whether the names stand in the file.
    """

    names: list[str]
    columns: list[Array]
    header: bool


def is_sheet(path: Path) -> bool:
    """Whether a file is a table by its name."""
    return path.name.lower().endswith(SPREADSHEETS)


def read_sheet(path: Path) -> Sheet:
    """Reads a table with one item a line.

    Cells are parted by commas, semicolons or tabs, whichever the first line has most of, or else by
    spaces. The first line is a header if it holds texts alone, or one above a number, or the
    numbers 0, 1, 2, ... . An empty cell, NA, NaN, null, none or ? is missing. A column without a
    name and with nothing in it is left out.
    """
    with reading(path):
        lines = _lines(path)
        delimiter = _delimiter(lines)
        first, *below = [cells for _, cells in _rows(lines[:2], delimiter)]
        header = _is_header(first, below[0] if below else [])
        if len([line for line in lines if line.strip()]) <= header:
            raise Refusal(f"{path} has a header but no items; give a line for each")
        names = [name.strip() for name in first] if header else [str(i) for i in range(len(first))]
        try:  # ten times as quick, of numbers alone
            table = np.loadtxt(
                lines, delimiter=delimiter, skiprows=int(header), ndmin=2, comments=None
            )
            columns = list(table.T)
        except ValueError:
            columns = _columns(path, lines, delimiter, len(names), header)
    if len(names) != len(columns):
        raise ValueError(
            f"{path} has {len(names)} names in its first line but {len(columns)} columns below; "
            "give each column a name"
        )
    kept = [i for i, name in enumerate(names) if name or not _is_empty(columns[i])]
    names, columns = [names[i] for i in kept], [columns[i] for i in kept]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{path} has two columns {repeated[0]!r}; give each a name of its own")
    return Sheet(names, columns, header)


def read_cells(path: Path) -> tuple[str, list[list[str]]]:
    """What parts the cells of a table, and the cells of each line as they stand there.

    Args:
        path: A file that `read_sheet` has read.
    """
    with reading(path):
        lines = _lines(path)
        delimiter = _delimiter(lines)
        return delimiter or " ", [cells for _, cells in _rows(lines, delimiter)]


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        content = gzip.decompress(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = text.lstrip("\r\n").splitlines()
    if not any(line.strip() for line in lines):
        raise Refusal(f"{path} has no lines but empty ones; give a line for each item")
    if lines[0].startswith("#"):  # as numpy.savetxt writes a header
        lines[0] = lines[0].lstrip("# ")
    return lines


def _delimiter(lines: Sequence[str]) -> str | None:
    """What parts the cells; None is any number of spaces."""
    found = max(",;\t", key=lines[0].count)
    if found in lines[0]:
        return found
    spaced = {len(line.split()) for line in lines[:2]}
    return None if len(spaced) == 1 and spaced != {1} else ","


def _rows(lines: Sequence[str], delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that is not empty, with its number."""
    if delimiter is None:
        yield from ((i, line.split()) for i, line in enumerate(lines, 1) if line.strip())
        return
    reader = csv.reader(lines, delimiter=delimiter)
    yield from ((reader.line_num, cells) for cells in reader if cells)


def _is_header(cells: Sequence[str], below: Sequence[str]) -> bool:
    texts = [_number(cell) is None for cell in cells]
    numbers = [_number(cell) is not None for cell in below]
    # A first item may hold a text, too, but then it stands above other texts.
    if any(texts) and all(
        text or not cell.strip() for text, cell in zip(texts, cells, strict=True)
    ):
        return True
    if any(text and number for text, number in zip(texts, numbers, strict=False)):
        return True
    numbered = [cell.strip() for cell in (cells[1:] if not cells[0].strip() else cells)]
    return len(numbered) > 1 and numbered == [str(i) for i in range(len(numbered))]


def _columns(
    path: Path, lines: Sequence[str], delimiter: str | None, width: int, header: bool
) -> list[Array]:
    rows = []
    for number, cells in _rows(lines, delimiter):
        if len(cells) != width:
            raise Refusal(
                f"{path} has {len(cells)} cells in line {number}, but {width} in the first; give "
                "every line one cell for each column"
            )
        rows.append(cells)
    return [_column(cells) for cells in zip(*rows[int(header) :], strict=True)]


def _column(cells: Sequence[str]) -> Array:
    numbers = [_number(cell) for cell in cells]
    if None in numbers:
        return np.array(
            ["" if cell.strip().lower() in _MISSING else cell.strip() for cell in cells]
        )
    return np.array(numbers, np.float64)


def _number(cell: str) -> float | None:
    """The number in a cell, NaN if it is missing; None of a text."""
    word = cell.strip().lower()
    if word in _MISSING:
        return np.nan
    if word in ("true", "false"):
        return float(word == "true")
    try:
        return float(word)
    except ValueError:
        return None


def _is_empty(column: Array) -> bool:
    return column.dtype.kind == "f" and bool(np.isnan(column).all())
