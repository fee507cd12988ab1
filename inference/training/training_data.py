"""The arguments of `fit` that are data or counts: refused in a sentence if they are wrong."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import data as torch_data

from pyro_vae.arguments import names_in_order
from pyro_vae.batches import Batches, kind_of
from pyro_vae.datasets import Dataset, DataSource, Split
from pyro_vae.inference.estimators import MMD
from pyro_vae.program import Program, modules_of

__all__ = [
    "check_counts",
    "check_program",
    "has_labels",
    "kind_of_batch",
    "training_batches",
    "validation_batches",
]


def check_counts(
    *, epochs: int | None, steps: int | None, batch_size: int, valid_every: int = 1
) -> None:
    """Refuses numbers of epochs, steps or data that are no integers from 1 on.

    Raises:
        ValueError: If one is not, or if both epochs and steps are given.
    """
    counts = {"epochs": epochs, "steps": steps}
    counts |= {"batch_size": batch_size, "valid_every": valid_every}
    for name, value in counts.items():
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
            raise ValueError(f"{name} must be an integer, but is {value!r}")
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")
    if epochs is not None and steps is not None:
        raise ValueError("give epochs or steps, not both")


def check_program(program: Any) -> None:
    """Refuses what is no program.

    Raises:
        TypeError: If it has no model or no guide, or is a class.
    """
    for role in ("model", "guide"):
        if isinstance(program, type) or not callable(getattr(program, role, None)):
            raise TypeError(
                f"fit needs a program, an object with functions model(x) and guide(x), but "
                f"{program!r:.80} "
                + ("is a class; make one of it" if isinstance(program, type) else f"has no {role}")
            )


def has_labels(program: Program, data: Any) -> bool:
    """Whether data have labels that the program takes."""
    return isinstance(data, Split | DataSource) and "y" in names_in_order(program, data.shapes)


def training_batches(program: Program, data: Any, loss: Any, batch_size: int) -> Batches:
    """The batches of a training.

    If the program has batch normalization, or the loss compares the data of a batch, a single datum
    that is left over joins the batch before it, since these need two.

    Args:
        program: The program that is trained.
        data: A tensor, a `Split`, a `DataSource`, or batches.
        loss: The estimator, or another loss.
        batch_size: Data in a batch, where they are not in batches already.

    Raises:
        TypeError: If the data are of another type.
        ValueError: If they are no data, or the program does not take them.
    """
    tops = modules_of(program.model, program.guide).values()
    normalizes = any(_normalizes(module) for top in tops for module in top.modules())
    join_last = normalizes or isinstance(loss, MMD)
    data = _training_data(data)
    return Batches.of(program, data, batch_size=batch_size, join_last=join_last)


def validation_batches(program: Program, valid: Any, loss: Any) -> Batches | None:
    """The batches of the validation data, of 500 each; None if there are no such data.

    Raises:
        TypeError: If they are no tensor, `Split` or `DataSource`.
        ValueError: If they are empty, or the program does not take them.
    """
    data = _validation_data(valid)
    if data is None:
        return None
    join_last = isinstance(loss, MMD)
    return Batches.of(program, data, batch_size=500, join_last=join_last, by_length=True)


def kind_of_batch(batch: Sequence[Any]) -> Any:
    """The shapes and types of a batch, which decide by which graph it is computed."""
    return tuple((p.shape, p.dtype) if isinstance(p, Tensor) else type(p) for p in batch)


def _normalizes(module: nn.Module) -> bool:
    """Whether a module takes mean and variance over the batch."""
    return isinstance(module, _BatchNorm) and module.training


def _training_data(data: Any) -> Any:
    """The data as a `DataSource`, a `Split` or batches; refuses what looks like it and is not."""
    if isinstance(data, DataSource):
        return data
    if isinstance(data, Tensor):
        data = _split(data)
    if isinstance(data, Dataset):
        raise TypeError("data are a Dataset of three parts; give data.train, and valid=data.valid")
    if isinstance(data, np.ndarray):
        raise TypeError("data are a numpy array; give torch.as_tensor(data)")
    single = torch_data.Dataset, torch_data.IterableDataset
    if isinstance(data, single[0]) and not isinstance(data, single[1]):
        raise TypeError(
            f"data are {kind_of(data)}, which gives single items; give batches of it, "
            "DataLoader(data, batch_size=128, shuffle=True)"
        )
    if isinstance(data, str | bytes | dict) or not isinstance(data, Split | Iterable):
        raise TypeError(
            f"data are {kind_of(data)}, but must be a tensor, a Split or batches, or a DataSource"
        )
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
    """Whether the items are data and labels, and not batches: these have one number of dims."""
    if not isinstance(data, tuple | list) or not all(isinstance(part, Tensor) for part in data):
        return False
    return len({part.dim() for part in data}) > 1


def _validation_data(valid: Any) -> Split | DataSource | None:
    """The validation data as a `Split` or a `DataSource`, if there are any."""
    valid = _split(valid) if isinstance(valid, Tensor) else valid
    if valid is not None and not isinstance(valid, Split | DataSource):
        raise TypeError(
            f"valid is {kind_of(valid)}, but must be a tensor (N, *x_shape) or a Split, or a "
            "DataSource"
        )
    if valid is not None and not len(valid):
        raise ValueError("the validation data are empty; leave valid out")
    return valid
