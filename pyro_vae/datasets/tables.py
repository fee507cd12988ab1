"""Tables of the UCI repository (https://archive.ics.uci.edu), with NaN where an entry is missing.

A fixed permutation splits 80/10/10. Real columns are standardized by the mean and the standard
deviation of the training part, before anything is hidden. Counts stay as they are, and classes are
numbered from 0 on. There are no labels.

`missing` hides entries completely at random, each with that probability, by a fixed draw in all
parts. What is hidden is found in the same place of the table with `missing=0`, to judge a guess by.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from pyro_vae.likelihoods import LogNormal, Mixed, Nominal, Normal, Ordinal, Poisson

from .conversion import hold_out
from .dataset import Dataset
from .missing import check_missing, hide
from .reading import Array, read_table, required
from .split import Split
from .standardization import mean_and_scale

__all__ = ["adult", "letter", "spam"]

Column = Callable[[tuple[int, ...]], nn.Module]

_ADULT: dict[str, Column] = {
    "age": Poisson,
    "workclass": partial(Nominal, num_classes=7),
    "fnlwgt": LogNormal,
    "education": partial(Ordinal, num_classes=16),
    "marital status": partial(Nominal, num_classes=7),
    "occupation": partial(Nominal, num_classes=14),
    "relationship": partial(Nominal, num_classes=6),
    "race": partial(Nominal, num_classes=5),
    "sex": partial(Nominal, num_classes=2),
    "capital gain": LogNormal,
    "capital loss": LogNormal,
    "hours per week": Poisson,
}


def letter(data_dir: str | os.PathLike[str] = "data", missing: float = 0.0) -> Dataset:
    """Letter Recognition: 20,000 printed letters, 16 whole-number features, taken as real.

    Args:
        data_dir: Has `uci/letter.csv`: a header and 16 columns without the letter itself.
        missing: See `pyro_vae.datasets.tables`.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged, or `missing` is not from 0 to below 1.

    Reference:
        Frey and Slate, 1991, https://doi.org/10.1007/BF00114162
    """
    return _real("letter", data_dir, 16, missing)


def spam(data_dir: str | os.PathLike[str] = "data", missing: float = 0.0) -> Dataset:
    """Spambase: 4,601 e-mails, 57 real columns, most of them frequencies of words.

    Args:
        data_dir: Has `uci/spam.csv`: a header and 57 columns without the class.
        missing: See `pyro_vae.datasets.tables`.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged, or `missing` is not from 0 to below 1.

    Reference:
        Hopkins et al., 1999, https://doi.org/10.24432/C53G6X
    """
    return _real("spam", data_dir, 57, missing)


def adult(data_dir: str | os.PathLike[str] = "data", missing: float = 0.0) -> Dataset:
    """Adult: 32,561 people of the census of 1994, 12 columns of four kinds.

    Counts (age, hours per week) are Poisson; education is Ordinal; workclass, marital status,
    occupation, relationship, race and sex are Nominal. Positive numbers (the census weight, capital
    gain and loss) are LogNormal, as exp of the standardized log(1 + x), so that a gain of 0 has a
    logarithm, too. 3,686 entries of workclass and occupation are missing in the source.

    Args:
        data_dir: Has `uci/adult_data.csv` of HI-VAE: 12 columns, no header, classes from 1 on.
        missing: See `pyro_vae.datasets.tables`.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged, or `missing` is not from 0 to below 1.

    Reference:
        Nazabal et al., 2020, https://arxiv.org/abs/1807.03653
    """
    path = Path(data_dir) / "uci" / "adult_data.csv"
    table = read_table(required(path, "the table of HI-VAE"), len(_ADULT), header=False)
    for j, (name, column) in enumerate(_ADULT.items()):
        if isinstance(column, partial):
            table[:, j] -= 1
            last = column.keywords["num_classes"] - 1
            if ((table[:, j] < 0) | (table[:, j] > last) | (table[:, j] % 1 > 0)).any():
                raise ValueError(
                    f"{path}: {name} has a class that is not one of 1, ..., {last + 1}"
                )
    return _dataset("adult", table, tuple(_ADULT.values()), missing, _adult_likelihood)


def _adult_likelihood(x_shape: tuple[int, ...]) -> nn.Module:
    return Mixed(x_shape, columns=[column((1,)) for column in _ADULT.values()])


def _real(name: str, data_dir: str | os.PathLike[str], columns: int, missing: float) -> Dataset:
    path = required(Path(data_dir) / "uci" / f"{name}.csv", f"a header and {columns} columns")
    table = read_table(path, columns, header=True)
    return _dataset(name, table, (Normal,) * columns, missing, Mixed)


def _dataset(
    name: str, table: Array, columns: Sequence[Column], missing: float, likelihood: Column
) -> Dataset:
    check_missing(missing)
    positive = torch.tensor([column is LogNormal for column in columns])
    real = positive | torch.tensor([column is Normal for column in columns])
    x = torch.from_numpy(table)
    parts = hold_out(name, Split(torch.where(positive, x.log1p(), x)), 2)
    mean, scale = mean_and_scale(parts[0].x)
    splits = []
    for seed, part in enumerate(parts):
        x = torch.where(real, (part.x - mean) / scale, part.x)
        x = torch.where(positive, x.exp(), x).float()
        splits.append(hide(Split(x), missing, seed))
    train, valid, test = splits
    return Dataset(name, train, valid, test, likelihood)
