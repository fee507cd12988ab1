"""What the columns of a table are, and how their cells become numbers and numbers cells again."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_vae.likelihoods import Mixed

from .reading import Array, reading
from .spreadsheets import Sheet

__all__ = ["TableColumn", "TableFormat", "TableLikelihood"]


@dataclass(frozen=True)
class TableColumn:
    """One column of a table as the numbers of x.

    A number c stands as (c - mean) / scale, or, where `log` is set, as exp((log c - mean) / scale);
    a class as its place.

    Args:
        name: What the table calls it.
        likelihood: The name of its likelihood in `pyro_vae.likelihoods`.
        classes: The cells that stand for its classes; none of a column of numbers.
        mean: The mean of the training part, or of its logarithm.
        scale: The standard deviation, likewise.
        log: Whether the logarithm is standardized, of positive numbers.
        whole: Whether all its numbers are whole.
    """

    name: str
    likelihood: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    log: bool = False
    whole: bool = False

    def numbers(self, source: str, cells: Array) -> Array:
        """The numbers of a sheet's column, (N,), NaN where one is missing.

        Raises:
            ValueError: If there is a text among numbers, or a class that the column has not.
        """
        if self.classes:
            return self._places(source, cells)
        if cells.dtype.kind != "f":
            row = next(i for i, cell in enumerate(cells) if not _is_number(cell))
            raise ValueError(
                f"{source} has the text {str(cells[row])!r} in column {self.name!r}, item "
                f"{row + 1}, but expected numbers; write a number, or leave the cell empty"
            )
        if not self.log:
            return (cells - self.mean) / self.scale
        if (cells <= 0).any():
            raise ValueError(
                f"{source} has {np.nanmin(cells):g} in column {self.name!r}, whose "
                f"{self.likelihood} takes positive numbers alone; give it another likelihood, "
                f"such as kinds={{{self.name!r}: Normal}}"
            )
        return np.exp((np.log(cells) - self.mean) / self.scale)

    def cells(self, x: Tensor) -> list[str]:
        """The cells that numbers (N,) stand for."""
        if self.classes:
            return [self.classes[int(place)] for place in x.round().clamp(0, len(self.classes) - 1)]
        values = x.double().numpy()
        if self.log:
            values = np.exp(np.log(values) * self.scale + self.mean)
        else:
            values = values * self.scale + self.mean
        return [f"{value:.0f}" if self.whole else f"{value:.6g}" for value in values]

    def _places(self, source: str, cells: Array) -> Array:
        texts = [str(c) if cells.dtype.kind != "f" else _as_text(c) for c in cells]
        places = {text: float(place) for place, text in enumerate(self.classes)}
        for row, text in enumerate(texts):
            if text and text not in places:
                raise ValueError(
                    f"{source} has {text!r} in column {self.name!r}, item {row + 1}, but its "
                    f"classes are {', '.join(self.classes)}; write one of them, or leave the cell "
                    "empty"
                )
        return np.array([places.get(text, np.nan) for text in texts])


@dataclass(frozen=True)
class TableFormat:
    """The columns of a table in the order of x, which any other table of the same columns shares.

    Args:
        columns: Those that are data.
        left_out: The names of those that are not.
        header: Whether the names stand in the file; without, they are its places.
    """

    columns: tuple[TableColumn, ...]
    left_out: tuple[str, ...] = ()
    header: bool = True

    def numbers(self, source: str, sheet: Sheet) -> Tensor:
        """The rows of a table as x, (N, D) in float32, NaN where a cell is empty.

        Raises:
            ValueError: If the table has other columns, or cells that are none of theirs.
        """
        names = [column.name for column in self.columns]
        lacking = [name for name in names if name not in sheet.names]
        others = [name for name in sheet.names if name not in (*names, *self.left_out)]
        if lacking or others or sheet.header != self.header:
            found = [f"lacks {', '.join(map(repr, lacking))}"] if lacking else []
            found += [f"has {', '.join(map(repr, others))} besides"] if others else []
            found += [] if found else ["has a header" if sheet.header else "has no header"]
            raise ValueError(
                f"{source} has other columns than the program was trained on: it "
                f"{' and '.join(found)}; the columns are {', '.join(map(repr, names))}"
            )
        columns = [sheet.columns[sheet.names.index(name)] for name in names]
        pairs = zip(self.columns, columns, strict=True)
        x = np.stack([column.numbers(source, cells) for column, cells in pairs], 1)
        return torch.from_numpy(x.astype(np.float32))

    def cells(self, x: Tensor) -> list[list[str]]:
        """The cells of each column that rows x, (N, D), stand for."""
        return [column.cells(x[:, i]) for i, column in enumerate(self.columns)]

    def likelihood(self) -> "TableLikelihood":
        """What builds the likelihood of such rows."""
        return TableLikelihood(tuple((c.likelihood, len(c.classes)) for c in self.columns))

    def as_json(self) -> dict[str, Any]:
        """What `load` reads, as values of JSON."""
        return asdict(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TableFormat":
        """Reads what `as_json` gave, such as the `columns.json` of a run folder.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no columns.
        """
        path = Path(path)
        with reading(path):
            content = json.loads(path.read_text(encoding="utf-8"))
        try:
            columns = [
                TableColumn(**{**c, "classes": tuple(c["classes"])}) for c in content["columns"]
            ]
            return cls(tuple(columns), tuple(content["left_out"]), content["header"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error!r}); train anew") from error


@dataclass(frozen=True)
class TableLikelihood:
    """Builds the `Mixed` likelihood of a table's rows; neighbours of one kind are one column of it.

    Args:
        kinds: Of each number of x the name of a likelihood, and the number of its classes or 0.
    """

    kinds: tuple[tuple[str, int], ...]

    def __call__(self, x_shape: tuple[int, ...]) -> nn.Module:
        """The likelihood, for the x_shape of such rows."""
        from pyro_vae import likelihoods

        columns = [
            getattr(likelihoods, name)((size,), **options) for name, size, options in self._runs()
        ]
        return Mixed(x_shape, columns=columns)

    @property
    def text(self) -> str:
        """The call that builds it."""
        columns = [
            f"{name}(({size},){''.join(f', {k}={v!r}' for k, v in options.items())})"
            for name, size, options in self._runs()
        ]
        return f"Mixed(columns=[{', '.join(columns)}])"

    def _runs(self) -> list[tuple[str, int, dict[str, Any]]]:
        """Name, number of entries and arguments of each column of `Mixed`."""
        runs: list[tuple[str, int, dict[str, Any]]] = []
        for name, classes in self.kinds:
            options: dict[str, Any] = {"num_classes": classes} if classes else {}
            if not classes and name in SCALED:
                options = {"per_pixel": True}
            if runs and (runs[-1][0], runs[-1][2]) == (name, options):
                runs[-1] = name, runs[-1][1] + 1, options
            else:
                runs.append((name, 1, options))
        return runs


SCALED = ("Laplace", "LogNormal", "Normal", "StudentT")  # which learn a scale for each entry


def _as_text(number: float) -> str:
    """How a class that is a number is called; empty where it is missing."""
    return "" if np.isnan(number) else f"{number:.15g}"


def _is_number(cell: Any) -> bool:
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True
