"""The data of a training: what a user may give, checked before the first step."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from pyro_vae.arguments import gives_labels
from pyro_vae.datasets import Dataset, Split
from pyro_vae.program import Program

__all__ = [
    "arguments_of",
    "check_counts",
    "check_program",
    "has_labels",
    "training_data",
    "validation_data",
]


def check_counts(*, epochs: int | None, steps: int | None, batch_size: int) -> None:
    """Refuses counts that are no integers from 1 on, and epochs beside steps."""
    for name, value in (("epochs", epochs), ("steps", steps), ("batch_size", batch_size)):
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
            raise ValueError(f"{name} must be an integer, but is {value!r}")
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")
    if epochs is not None and steps is not None:
        raise ValueError("give epochs or steps, not both")


def check_program(program: Any) -> None:
    """Refuses what has no model or no guide."""
    for role in ("model", "guide"):
        if isinstance(program, type) or not callable(getattr(program, role, None)):
            raise TypeError(
                f"fit needs a program, an object with functions model(x) and guide(x), but "
                f"{program!r:.80} "
                + ("is a class; make one of it" if isinstance(program, type) else f"has no {role}")
            )


def has_labels(program: Program, data: Any) -> bool:
    """Whether a program is trained with the labels of its data."""
    return isinstance(data, Split) and gives_labels(program, data.y)


def arguments_of(batch: Any) -> Sequence[Any]:
    """The arguments of model and guide in a batch as a user gives it: one tensor, or several."""
    parts = batch if isinstance(batch, tuple | list) and len(batch) else [batch]
    tensors = [part for part in parts if isinstance(part, Tensor)]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if arrays or not tensors:
        raise TypeError(
            f"a batch is {_kind(arrays[0] if arrays else batch)}, but must be a tensor "
            "(N, *x_shape) or a tuple of the arguments of model and guide"
        )
    if not any(tensor.dim() for tensor in tensors):
        raise ValueError(
            f"a batch is a single number, {tensors[0].item()}, where a tensor (N, *x_shape) of N "
            "data is needed; give x[None] for a single datum, or batches of a DataLoader"
        )
    if any(tensor.dim() and not len(tensor) for tensor in tensors):
        raise ValueError("a batch holds no data; leave empty batches out")
    return parts


def training_data(data: Any) -> Any:
    """The data as a `Split` or as batches; refuses what looks like either and is not."""
    if isinstance(data, Tensor):
        data = _split(data)
    if isinstance(data, Dataset):
        raise TypeError("data are a Dataset of three parts; give data.train, and valid=data.valid")
    if isinstance(data, np.ndarray):
        raise TypeError("data are a numpy array; give torch.as_tensor(data)")
    single = torch_data.Dataset, torch_data.IterableDataset
    if isinstance(data, single[0]) and not isinstance(data, single[1]):
        raise TypeError(
            f"data are {_kind(data)}, which gives single items; give batches of it, "
            "DataLoader(data, batch_size=128, shuffle=True)"
        )
    if isinstance(data, str | bytes | dict) or not isinstance(data, Split | Iterable):
        raise TypeError(f"data are {_kind(data)}, but must be a tensor, a Split or batches")
    if _is_a_pair(data):
        raise ValueError(
            "data are a pair of tensors of different shapes, such as (x, y), but must be a tensor, "
            "a Split or batches; give Split(x, y) for data with labels, or [(x, y)] for one batch"
        )
    return data


def _split(x: Tensor) -> Split:
    if not x.dim():
        raise ValueError(f"data are the single number {x.item()}; give a tensor (N, *x_shape)")
    if x.layout is not torch.strided:
        raise ValueError(f"data are a tensor of {x.layout}; give x.to_dense()")
    return Split(x)


def _is_a_pair(data: Any) -> bool:
    """Whether what should be batches of data are the data and what belongs to each of them."""
    if not isinstance(data, tuple | list) or not all(isinstance(part, Tensor) for part in data):
        return False
    return len({part.dim() for part in data}) > 1


def validation_data(valid: Any) -> Split | None:
    """The validation data as a `Split`, if there are any."""
    valid = _split(valid) if isinstance(valid, Tensor) else valid
    if valid is not None and not isinstance(valid, Split):
        raise TypeError(f"valid is {_kind(valid)}, but must be a tensor (N, *x_shape) or a Split")
    if valid is not None and not len(valid):
        raise ValueError("the validation data are empty; leave valid out")
    return valid


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "a numpy array (torch.as_tensor makes a tensor of it)"
    return f"of type {type(value).__name__}"
