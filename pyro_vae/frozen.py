"""Frozen modules: what is trained already stays as it is within what is trained next."""

from functools import partial
from typing import TypeVar

from torch import nn

__all__ = ["freeze", "frozen_tensors", "is_frozen", "loaded_tensors", "mark_as_loaded"]

Module = TypeVar("Module", bound=nn.Module)

_LOADED = "_weights_are_in_a_run_folder"


def freeze(module: Module) -> Module:
    """Keeps a module as it is: no gradient, and evaluation mode for good.

    `train()` of the module, or of another one that it is a part of, leaves it in evaluation mode,
    so that a batch normalization keeps its statistics and nothing is dropped out.

    Args:
        module: A module that has run, changed in place.

    Returns:
        The same module.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), freeze(nn.BatchNorm1d(3))).train()
        >>> network[0].training, network[1].training
        (True, False)
    """
    module.requires_grad_(False)
    for part in module.modules():
        part.training = False
        # In the instance, where torch's own train() and eval() of an owner find it. A partial, and
        # no bound method, since that one cannot be pickled under another name than its own.
        vars(part)["train"] = partial(_stay, part)
    return module


def is_frozen(module: nn.Module) -> bool:
    """Whether a module is frozen, or a part of one that is."""
    train = vars(module).get("train")
    return isinstance(train, partial) and train.func is _stay


def frozen_tensors(module: nn.Module) -> set[int]:
    """The ids of the parameters and buffers of what is frozen in a module."""
    return {
        id(tensor)
        for part in module.modules()
        if is_frozen(part)
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False))
        if not tensor.requires_grad  # a user may have thawed one
    }


def mark_as_loaded(module: Module) -> Module:
    """Notes of a frozen module that a run folder has its weights, so that no other need keep them.

    Returns:
        The same module.
    """
    for part in module.modules():
        vars(part)[_LOADED] = True
    return module


def loaded_tensors(module: nn.Module) -> set[int]:
    """The ids of those of `frozen_tensors` that a run folder has."""
    loaded = {
        id(tensor)
        for part in module.modules()
        if vars(part).get(_LOADED)
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False))
    }
    return loaded & frozen_tensors(module)


def _stay(module: Module, mode: bool = True) -> Module:
    """What a frozen module has for `train`."""
    return module
