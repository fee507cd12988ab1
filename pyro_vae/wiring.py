"""Whether the parts of a program fit each other, said in its constructor with both shapes."""

from collections.abc import Sequence
from typing import Any

__all__ = ["check_network", "check_part"]


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
