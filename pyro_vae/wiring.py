"""Whether the parts of a program fit each other, said in its constructor with both shapes."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import nn

__all__ = ["Network", "attach", "built", "check_network", "check_part"]

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


def check_network(
    owner: str, name: str, network: Any, in_shape: Sequence[int], out_shape: Sequence[int]
) -> None:
    """Refuses a network that declares another in_shape or out_shape than its owner needs."""
    for kind, needed in (("in_shape", in_shape), ("out_shape", out_shape)):
        check_part(owner, f"{name}'s {kind}", getattr(network, kind, needed), needed)
