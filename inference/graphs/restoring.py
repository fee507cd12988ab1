"""Runs of a program that leave no trace, since a graph is made between two steps of a training."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["python_generators", "restoring"]


@contextmanager
def restoring(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Puts torch's random generators and these tensors back as they were.

    So a step that makes a graph draws what an eager step would have drawn, and BatchNorm's averages
    move once a step, however often the program runs for the graph.
    """
    values = [tensor.detach().clone() for tensor in tensors]
    try:
        with torch.random.fork_rng():
            yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)


def python_generators() -> tuple[Any, ...]:
    """The states of Python's and numpy's random generators, to compare."""
    state: Any = np.random.get_state(legacy=False)
    return random.getstate(), state["state"]["key"].tobytes(), state["state"]["pos"]
