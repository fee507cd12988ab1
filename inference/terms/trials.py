"""Runs that change nothing, by which one learns how a program has to be run."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy

from pyro_vae.precision import layers_in_float32
from pyro_vae.program import in_evaluation_mode, modules_of

__all__ = ["all_modules", "evaluation_mode", "leaving_no_trace", "perturbed", "trial"]


@contextmanager
def leaving_no_trace() -> Iterator[list[nn.Module]]:
    """Leaves the random generators as they were, and the buffers of all modules that run.

    Yields:
        A list of these modules, which grows with the run.
    """
    kept: dict[tuple[int, str], tuple[nn.Module, Tensor, int, Tensor]] = {}
    ran: list[nn.Module] = []

    def keep(module: nn.Module, _: Any) -> None:
        ran.append(module)
        for name, buffer in module.named_buffers(recurse=False):
            if (id(module), name) not in kept and not is_lazy(buffer):
                copy = buffer.detach().clone()
                kept[id(module), name] = (module, buffer, buffer._version, copy)

    hook = register_module_forward_pre_hook(keep)
    try:
        with torch.random.fork_rng():
            yield ran
    finally:
        hook.remove()
        for (_, name), (module, buffer, version, value) in kept.items():
            setattr(module, name, buffer)
            # A gradient may wait for a buffer that has not changed, so it is left alone. A layer
            # that changes one, such as BatchNorm, need not count that in the buffer's version.
            if buffer._version != version or not torch.equal(buffer, value):
                with torch.no_grad():
                    buffer.copy_(value)


@contextmanager
def trial() -> Iterator[list[nn.Module]]:
    """A run without a gradient and without a trace; see `leaving_no_trace`.

    Yields:
        A list of the modules that run, which grows with the runs.
    """
    with torch.no_grad(), poutine.block(), leaving_no_trace() as ran, layers_in_float32():
        yield ran


def all_modules(model: Any, guide: Any, ran: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules of a program that can be found, and others that are known to run."""
    named = {id(m): m for top in modules_of(model, guide).values() for m in top.modules()}
    return list((named | {id(module): module for module in ran}).values())


@contextmanager
def evaluation_mode(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Runs modules in evaluation mode, without Pyro's validation."""
    with in_evaluation_mode(modules), pyro.validation_enabled(False):
        yield


@contextmanager
def perturbed(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Moves parameters that are constant, as many are at the start, and puts them back.

    With weights of zero a network gives the right answer whatever it does.
    """
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    try:
        for parameter in parameters:
            value = parameter.data  # what waits for a gradient must not see the change
            if id(parameter) in kept or not _is_constant(value):
                continue
            kept[id(parameter)] = value, value.clone()
            value.add_(torch.rand_like(value), alpha=0.1)
        yield
    finally:
        for value, before in kept.values():
            value.copy_(before)


def _is_constant(value: Tensor) -> bool:
    stands_alone = value.is_floating_point() and value.is_contiguous() and value.numel() > 0
    return stands_alone and bool((value == value.flatten()[0]).all())
