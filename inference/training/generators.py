"""The states of torch's random generators, of the CPU and of a GPU if there is one."""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["generators_state", "set_generators_state"]


def generators_state() -> dict[str, Tensor]:
    """The states at present, by device."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_generators_state(state: Mapping[str, Tensor]) -> None:
    """Puts the states back; that of a GPU only where there is one."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
