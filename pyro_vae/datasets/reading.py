"""Files of arrays, read without ever unpickling: idx, npy, npz, pt and tables of numbers."""

import gzip
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "read_arrays", "read_idx", "read_table", "reading", "required"]

Array: TypeAlias = NDArray[Any]


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
        yield
    except Exception as error:  # numpy, zipfile, gzip, torch and Pillow have a dozen types for it
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}): it is damaged, of another kind than "
            "its name says, or holds pickled objects, which are never read; write or fetch it again"
        ) from error


def required(path: Path, what: str) -> Path:
    """Returns `path` if there is such a file, and else says what to put there."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}; put there {what}")
    return path


def read_arrays(path: Path, names: Collection[str]) -> dict[str, Array]:
    """The arrays of an .npy, .npz or .pt file: those of these names, or all if none has one.

    A single array without a name is called x.
    """
    if path.suffix not in (".npy", ".npz", ".pt"):
        raise ValueError(f"{path} ends in {path.suffix!r}, but expected .npy, .npz or .pt")
    with reading(path):
        return _torch(path, names) if path.suffix == ".pt" else _numpy(path, names)


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


def _numpy(path: Path, names: Collection[str]) -> dict[str, Array]:
    with open(path, "rb") as file:  # np.load leaves a damaged archive open that it opened itself
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"x": found}
        return {name: found[name] for name in _wanted(found.files, names)}


def _torch(path: Path, names: Collection[str]) -> dict[str, Array]:
    found = torch.load(path, map_location="cpu", weights_only=True)
    tensors = {"x": found} if isinstance(found, Tensor) else dict(found)
    return {name: _array(tensors[name]) for name in _wanted(tensors, names)}


def _array(x: Tensor) -> Array:
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True)


def _wanted(found: Collection[str], names: Collection[str]) -> list[str]:
    return [name for name in found if name in names] or list(found)
