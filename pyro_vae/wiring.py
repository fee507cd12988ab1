"""What constructors refuse: sizes that are none, and parts that do not fit, with both shapes."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import nn

__all__ = [
    "Network",
    "attach",
    "built",
    "check_network",
    "check_part",
    "check_positive",
    "check_prior",
    "check_sizes",
]

# A network, or what builds one from in_shape and out_shape, such as MLP or partial(MLP, hidden=()).
Network: TypeAlias = nn.Module | Callable[[Sequence[int], Sequence[int]], nn.Module]


def built(
    owner: str, name: str, network: Network, in_shape: Sequence[int], out_shape: Sequence[int]
) -> nn.Module:
    """The network between two shapes; refuses one that declares others.

    Args:
        owner: Whose network it is, for the sentence of an error.
        name: What it is to its owner, likewise.
        network: The network, or what builds it.
        in_shape: The shape of one input.
        out_shape: The shape of one output.

    Raises:
        ValueError: If they do not fit; the sentence names both shapes.
    """
    module = network if isinstance(network, nn.Module) else network(in_shape, out_shape)
    check_network(owner, name, module, in_shape, out_shape)
    return module


def attach(prior: Any, encoder: nn.Module, posterior: nn.Module) -> None:
    """Shows a prior that is made of posteriors, such as `VampPrior`, its program's."""
    if hasattr(prior, "attach"):
        prior.attach(encoder, posterior)


def check_part(owner: str, what: str, found: Sequence[int], needed: Sequence[int]) -> None:
    """Refuses a part whose shape is not the one that its owner needs."""
    if tuple(found) != tuple(needed):
        raise ValueError(
            f"the {what} is {tuple(found)}, but this {owner} needs {tuple(needed)}; give both the "
            "same size"
        )


def check_prior(owner: str, prior: Any, latent_dim: int) -> None:
    """Refuses a prior that declares another latent_dim than its owner's."""
    found = getattr(prior, "latent_dim", latent_dim)
    check_part(owner, "prior's latent_dim", (found,), (latent_dim,))


def check_network(
    owner: str, name: str, network: Any, in_shape: Sequence[int], out_shape: Sequence[int]
) -> None:
    """Refuses a network that declares another in_shape or out_shape than its owner needs."""
    for kind, needed in (("in_shape", in_shape), ("out_shape", out_shape)):
        check_part(owner, f"{name}'s {kind}", getattr(network, kind, needed), needed)


def check_sizes(**sizes: int) -> None:
    """Refuses sizes below one, by their names."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, but is {size}")


def check_positive(**numbers: float) -> None:
    """Refuses numbers that are not positive and finite, by their names."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name} must be positive and finite, but is {number}")
