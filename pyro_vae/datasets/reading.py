"""Opening files: whatever goes wrong becomes one sentence that names the file."""

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .signatures import another_kind

__all__ = ["Array", "Refusal", "read_idx", "read_table", "reading", "required"]

Array: TypeAlias = NDArray[Any]


class Refusal(ValueError):
    """What is wrong with a file, in a whole sentence."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong with a file into one sentence that names it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, empty, or cannot be read.
    """
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder, but expected a file; folder() reads pictures")
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}; give the path of one")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path} is empty; write or fetch it again")
    try:
        if kind := another_kind(path):
            raise Refusal(
                f"{path} cannot be read: by its content it is {kind}, but its name ends in "
                f"{path.suffix!r}; rename or convert it"
            )
        yield
    except Refusal:
        raise
    except PermissionError as error:
        raise ValueError(
            f"{path} cannot be read: you have no permission for it; change its permissions"
        ) from error
    except MemoryError as error:
        raise ValueError(
            f"{path} cannot be read: there is not enough memory for its "
            f"{os.path.getsize(path):,} bytes; give a part of the data"
        ) from error
    except Exception as error:  # numpy, zipfile, gzip, torch and Pillow have a dozen types for it
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}): it is damaged, of another kind than "
            "its name says, or holds pickled objects, which are never read; write or fetch it again"
        ) from error


def required(path: Path, what: str) -> Path:
    """Returns `path` if there is such a file, and else says what to put there."""
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"there is no file {path}; put there {what}, or name another data_dir"
        )
    return path


def read_idx(path: Path) -> Array:
    """The bytes of an idx file, packed or not, as LeCun et al. publish MNIST."""
    with reading(path):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if content[:3] != b"\0\0\x08":
            raise ValueError("not an idx file of bytes")
        shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def read_table(path: Path, columns: int, *, header: bool) -> Array:
    """A table of numbers between commas, (N, columns) in float64, NaN where one is missing."""
    with reading(path):
        found = np.loadtxt(path, delimiter=",", skiprows=int(header), ndmin=2)
    if found.shape[1] != columns or np.isinf(found).any():
        raise ValueError(
            f"{path} has shape {found.shape}, or infinite values, but expected (items, {columns}) "
            "with numbers or nan"
        )
    return found
