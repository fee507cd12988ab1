"""Arrays by their names in .npy, .npz and .pt files; pickled objects are never read."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from .meaning import check_shape
from .reading import Array, Refusal, reading

__all__ = ["ARCHIVES", "named", "read_arrays"]

ARCHIVES = (".npy", ".npz", ".pt", ".pth")

_EXPECTED = "a tensor, (data, labels) or a dictionary of tensors"

Choice = Callable[[Sequence[str]], Collection[str]]


def named(names: Collection[str]) -> Choice:
    """What chooses these names of those in a file."""
    return lambda found: [name for name in found if name in names]


def read_arrays(path: Path, choose: Choice) -> tuple[dict[str, Array], list[str]]:
    """The chosen arrays of a file, and the names of all that it holds.

    An array without a name is called x; of a tuple or list, its place is its name.

    Args:
        path: The file.
        choose: Is given the names in the file, and says which arrays to read.
    """
    with reading(path):
        if path.suffix.lower() in (".pt", ".pth"):
            return _torch(path, choose)
        return _numpy(path, choose)


def _numpy(path: Path, choose: Choice) -> tuple[dict[str, Array], list[str]]:
    with open(path, "rb") as file:  # np.load leaves a damaged archive open that it opened itself
        if path.suffix.lower() == ".npy":
            _check_header(str(path), file)
            file.seek(0)
            return {"x": np.load(file, allow_pickle=False)}, ["x"]
        found = np.load(file, allow_pickle=False)
        if any(name.endswith("data.pkl") for name in found.files):
            raise Refusal(f"{path} cannot be read: by its content it is a .pt file; rename it")
        chosen = choose(found.files)
        for name in chosen:
            member = name if name in found.zip.namelist() else f"{name}.npy"
            with found.zip.open(member) as opened:
                _check_header(f"{path}, {name}", opened)
        return {name: found[name] for name in chosen}, list(found.files)


def _check_header(source: str, file: Any) -> None:
    """Refuses objects, and more entries than memory may hold, before they are read."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise Refusal(
            f"{source} holds pickled objects, which are never read, but expected numbers; save an "
            "array of numbers, as by x.astype('float32')"
        )
    if len(shape) > 1 and 0 not in shape:
        check_shape(source, shape)


def _torch(path: Path, choose: Choice) -> tuple[dict[str, Array], list[str]]:
    values = _values(path, _loaded(path))
    chosen = {name: _array(f"{path}, {name}", values[name]) for name in choose(list(values))}
    return chosen, list(values)


def _loaded(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if not is_zipfile(path):
            raise  # damaged, or a format before torch 1.6
        raise Refusal(
            f"{path} holds pickled objects, which are never read, but expected {_EXPECTED}; save "
            "one of these with torch.save"
        ) from error


def _values(path: Path, found: Any) -> dict[str, Any]:
    """What a .pt file holds, by names; those of a dictionary in a dictionary are joined by _."""
    if isinstance(found, Tensor):
        return {"x": found}
    if isinstance(found, tuple | list) and len(found) <= 2:
        return {str(i): part for i, part in enumerate(found)}
    if not isinstance(found, dict):
        kind = type(found).__name__
        if isinstance(found, tuple | list):
            kinds = sorted({type(part).__name__.lower() for part in found})
            kind += f" of {len(found)} {'s and '.join(kinds)}s"
        raise Refusal(
            f"{path} holds a {kind}, but expected {_EXPECTED}; save one of these with torch.save, "
            "as by torch.stack of single items"
        )
    values: dict[str, Any] = {}
    for name, value in found.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        values |= {f"{name}_{key}" if key else str(name): part for key, part in inner}
    return values


def _array(source: str, x: Any) -> Array:
    if not isinstance(x, Tensor):
        raise Refusal(
            f"{source} is a {type(x).__name__}, but expected a tensor; make it one, as by "
            "torch.stack or torch.as_tensor, and save it again"
        )
    if x.dim() > 1 and x.numel():
        check_shape(source, tuple(x.shape))
    x = x.to_dense() if x.layout is not torch.strided else x
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True)
