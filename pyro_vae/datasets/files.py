"""Your own data: arrays in a file."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from pyro_vae.likelihoods import ContinuousBernoulli, Normal

from .binarization import bernoulli_of, binarizer
from .conversion import hold_out, to_split
from .reading import read_arrays
from .split import PARTS, Dataset, Split

__all__ = ["arrays"]

_NAMES = {"x", "images", "y", *PARTS, *(f"{k}_{part}" for k in "xy" for part in PARTS)}


def arrays(
    path: str | os.PathLike[str], *, binarize: str | None = None, scale: float | None = None
) -> Dataset:
    """Your own data from an `.npy`, `.npz` or `.pt` file; pickled objects are never read.

    The file has one array (of any name, or named `x` or `images`, with labels `y`), which a fixed
    permutation splits 80/10/10; or `x_train` and `x_test`, or `train` and `test`, with labels
    `y_train` and `y_test`. Then `x_valid` or `valid` is the validation part, or a fixed tenth of
    the training data where there is none.

    (N, D) stays so; (N, H, W) becomes (N, 1, H, W), and (N, H, W, 1 or 3) becomes
    (N, 1 or 3, H, W). Numbers become float32: uint8 is divided by 255, others stay as they are.
    Labels are classes if they are integers, (N,), counted from 0, and conditions if they are
    floating, where (N,) becomes (N, 1).

    The likelihood is Bernoulli for zeros and ones, ContinuousBernoulli for numbers in [0, 1], and
    Normal for others.

    Args:
        path: The file.
        binarize: See `pyro_vae.datasets.binarization`; the data must then lie in [0, 1].
        scale: Divides the data, in place of the rule above.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold such arrays, or an argument is wrong.
    """
    binarized, path = binarizer(binarize), Path(path)
    if scale is not None and not 0 < scale < math.inf:
        raise ValueError(f"scale must be a positive number, but is {scale}")
    found = read_arrays(path, _NAMES)
    x = {part: found.get(f"x_{part}", found.get(part)) for part in PARTS}
    whole = next(iter(found.values())) if len(found) == 1 else found.get("x", found.get("images"))
    if x["train"] is not None and x["test"] is not None:
        splits = [
            to_split(f"{path}, {part}", array, found.get(f"y_{part}"), scale=scale)
            for part, array in x.items()
            if array is not None
        ]
        if len(splits) == 2:
            splits[:1] = hold_out(str(path), splits[0], 1)
    elif whole is not None:
        splits = hold_out(str(path), to_split(str(path), whole, found.get("y"), scale=scale), 2)
    else:
        names = ", ".join(list(found)[:10]) or "nothing"
        raise ValueError(
            f"{path} holds {names}; expected one array, or x (with y), or x_train and x_test "
            "(with x_valid, y_train, y_valid, y_test), or train and test (with valid)"
        )
    train, valid, test = splits
    return binarized(Dataset(path.stem, train, valid, test, _likelihood(splits)))


def _likelihood(splits: Sequence[Split]) -> Callable[[tuple[int, ...]], nn.Module]:
    if all(((split.x == 0) | (split.x == 1)).all() for split in splits):
        return bernoulli_of(splits[0])
    if all(((split.x >= 0) & (split.x <= 1)).all() for split in splits):
        return ContinuousBernoulli
    return Normal
