"""Which columns of a table are data, which are labels, and which are left out."""

from collections.abc import Sequence

import numpy as np

from .assembly import Raw
from .naming import LABELS
from .reading import Array
from .spreadsheets import Sheet

__all__ = ["data_and_labels", "labels_alone"]

_ROW_NUMBERS = ("", "index", "id", "unnamed: 0")

Column = str | int


def data_and_labels(
    source: str,
    sheet: Sheet,
    x: Column | Sequence[Column] | None = None,
    y: Column | None = None,
    without: Column | Sequence[Column] = (),
) -> tuple[Raw, list[str], list[str]]:
    """The data and labels of a table, the names of the data's columns, and what to say of it.

    Args:
        source: What names the table in the sentence of an error.
        sheet: The table.
        x: The columns that are data, by name or place; None takes all but the labels and a first
            column of row numbers.
        y: The column of the labels; None takes the one that is called y, label, target or class.
        without: Columns to leave out.

    Raises:
        ValueError: If there are no such columns, or texts among the data.
    """
    label = _label(source, sheet) if y is None else _place(source, sheet, y)
    left_out = [_place(source, sheet, column) for column in _several(without)]
    label = None if label in left_out else label
    numbered = x is None and _has_row_numbers(sheet)
    if x is None:
        places = [i for i in range(numbered, len(sheet.names)) if i not in (label, *left_out)]
    else:
        places = [_place(source, sheet, column) for column in _several(x)]
    if not places:
        raise ValueError(f"{source} has no columns of data besides the labels; give some with x=")
    for i in places:
        _check_numbers(source, sheet, i)
    names = [sheet.names[i] for i in places]
    notes = [f"columns {_listed(names)}" if sheet.header else "no header, columns by their places"]
    notes += [f"labels in column {sheet.names[label]!r}"] if label is not None else []
    notes += ["the first column of row numbers left out"] if numbered else []
    labels = None if label is None else _labels(sheet.columns[label])
    return Raw(np.stack([sheet.columns[i] for i in places], 1), labels), names, notes


def labels_alone(source: str, sheet: Sheet) -> Array:
    """The labels of a table that has only one column of them, beside row numbers perhaps."""
    place = _label(source, sheet)
    if place is None:
        place = int(_has_row_numbers(sheet))
        if len(sheet.names) != place + 1:
            raise ValueError(
                f"{source} has {len(sheet.names)} columns, but expected one of labels, or one that "
                "is called y or label; name it so"
            )
    return _labels(sheet.columns[place])


def _label(source: str, sheet: Sheet) -> int | None:
    found = [
        i
        for i, name in enumerate(sheet.names)
        if sheet.header and name.lower() in (*LABELS, "class")
    ]
    if len(found) > 1:
        raise ValueError(
            f"{source} has columns {sheet.names[found[0]]!r} and {sheet.names[found[1]]!r}, either "
            "of which could be the labels; name one with y=..."
        )
    return found[0] if found else None


def _place(source: str, sheet: Sheet, column: Column) -> int:
    if column in sheet.names:
        return sheet.names.index(str(column))
    if isinstance(column, int) and -len(sheet.names) <= column < len(sheet.names):
        return column % len(sheet.names)
    columns = _listed(sheet.names)
    raise ValueError(f"{source} has no column {column!r}; its columns are {columns}")


def _several(columns: Column | Sequence[Column]) -> Sequence[Column]:
    return [columns] if isinstance(columns, str | int) else columns


def _listed(names: Sequence[str]) -> str:
    shown = list(map(repr, names))
    return ", ".join(shown if len(shown) <= 10 else [*shown[:8], "...", shown[-1]])


def _has_row_numbers(sheet: Sheet) -> bool:
    """Whether the first column counts the rows, as pandas writes it."""
    first = sheet.columns[0]
    return (
        sheet.header
        and sheet.names[0].lower() in _ROW_NUMBERS
        and len(first) > 1
        and first.dtype.kind == "f"
        and bool((np.diff(first) == 1).all())
    )


def _check_numbers(source: str, sheet: Sheet, place: int) -> None:
    column = sheet.columns[place]
    if column.dtype.kind != "f":
        name = repr(sheet.names[place]) if sheet.header else str(place)
        text = str(next(cell for cell in column if cell and not _is_number(cell)))
        advice = f"give y={name} if these are the labels, or without=[{name}] to leave them out"
        if _is_number(text.replace(",", ".", 1)):
            advice = "write decimal points instead of commas"
        raise ValueError(
            f"{source} has texts in column {sheet.names[place]!r}, such as {text!r}, but expected "
            f"numbers; {advice}"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _labels(column: Array) -> Array:
    """Whole numbers from -1 on as integers, with -1 for what is missing."""
    if column.dtype.kind != "f":
        return column
    known = np.nan_to_num(column, nan=-1)
    return known.astype(np.int64) if ((known >= -1) & (known == np.floor(known))).all() else column
