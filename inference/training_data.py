"""The data of a training: what a user may give, checked, as batches of arguments."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from pyro_vae.arguments import gives_labels, order_of_arguments
from pyro_vae.datasets import Dataset, Split
from pyro_vae.program import Program

__all__ = [
    "batches",
    "check_counts",
    "has_labels",
    "steps_in_an_epoch",
    "training_data",
    "validation_data",
]


def check_counts(*, epochs: int | None, steps: int | None, batch_size: int) -> None:
    """Refuses counts below 1, and epochs beside steps."""
    for name, value in (("epochs", epochs), ("steps", steps), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")
    if epochs is not None and steps is not None:
        raise ValueError("give epochs or steps, not both")


def has_labels(program: Program, data: Any) -> bool:
    """Whether a program is trained with the labels of its data."""
    return isinstance(data, Split) and gives_labels(program, data.y)


def batches(
    program: Program, data: Split | Iterable[Any], batch_size: int, seed: int
) -> Iterator[Sequence[Any]]:
    """One pass over the data, as arguments; they are shuffled with the seed if a Split."""
    if not isinstance(data, Split):
        return map(_arguments, data)
    generator, labels = torch.Generator().manual_seed(seed), has_labels(program, data)
    order = order_of_arguments(program, labels=labels)
    passed = data.batches(batch_size, shuffle=True, generator=generator, labels=labels)
    return (tuple(batch[i] for i in order) for batch in passed)


def _arguments(batch: Any) -> Sequence[Any]:
    if isinstance(batch, Tensor):
        return (batch,)
    if not isinstance(batch, tuple | list) or not batch:
        raise TypeError(
            f"a batch is {_kind(batch)}, but must be a tensor (N, *x_shape) or a tuple of the "
            "arguments of model and guide"
        )
    return batch


def training_data(data: Any) -> Any:
    """The data as a `Split` or as batches; refuses what looks like either and is not."""
    if isinstance(data, Tensor):
        data = Split(data)
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
    if not isinstance(data, Split | Iterable):
        raise TypeError(f"data are {_kind(data)}, but must be a tensor, a Split or batches")
    return data


def validation_data(valid: Any) -> Split | None:
    """The validation data as a `Split`, if there are any."""
    valid = Split(valid) if isinstance(valid, Tensor) else valid
    if valid is not None and not isinstance(valid, Split):
        raise TypeError(f"valid is {_kind(valid)}, but must be a tensor (N, *x_shape) or a Split")
    if valid is not None and not len(valid):
        raise ValueError("the validation data are empty; leave valid out")
    return valid


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "a numpy array (torch.as_tensor makes a tensor of it)"
    return f"of type {type(value).__name__}"


def steps_in_an_epoch(data: Split | Iterable[Any], batch_size: int, *, labels: bool = False) -> int:
    """The number of batches in one pass."""
    if not isinstance(data, Sized):
        raise TypeError("data that do not know their length need steps, not epochs")
    if not len(data):
        raise ValueError("the data are empty")
    if isinstance(data, Split):
        return data.num_batches(batch_size, labels=labels)
    return len(data)
