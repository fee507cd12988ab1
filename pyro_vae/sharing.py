"""What a model and its guide both compute from the same tensors, computed once: `once`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["once", "sharing"]

_COMPUTED: ContextVar[dict[Any, Any] | None] = ContextVar("computed", default=None)


@contextmanager
def sharing(active: bool = True) -> Iterator[None]:
    """Has `once` remember, within, what it has computed; or, if not active, compute anew."""
    token = _COMPUTED.set({} if active else None)
    try:
        yield
    finally:
        _COMPUTED.reset(token)


def once(network: nn.Module, *inputs: Tensor) -> Tensor:
    """network(*inputs); or what it gave for these very tensors, earlier in the same run.

    A guide that goes down the model's own path draws z, computes what follows from it, and the
    model, which is replayed on the same z, computes it again. Where the gradient allows it, the run
    of both shares the outputs: half of the path is saved, batch statistics are counted once, and
    dropout is the same in q and p. Elsewhere, as in a run of the model alone, it is a plain call.
    """
    computed = _COMPUTED.get()
    if computed is None:
        return network(*inputs)
    key = (id(network), *map(id, inputs), torch.is_grad_enabled())
    if key not in computed:
        # with the inputs, so that no tensor that is made later has the id of one of them
        computed[key] = (inputs, network(*inputs))
    return computed[key][1]
