"""The number that a step returns: a tensor, so that no device is waited for until it is read."""

from typing import Any, ClassVar

import torch
from torch import Tensor

__all__ = ["Loss"]


class Loss(Tensor):
    """A loss, detached: a tensor that prints and rounds as the number that it holds."""

    # What one computes with it is a plain tensor again: a sum of losses is no loss of a step.
    __torch_function__: ClassVar[Any] = torch._C._disabled_torch_function_impl

    @classmethod
    def of(cls, value: Any) -> "Loss":
        """The loss of a tensor or a number."""
        return torch.as_tensor(value).detach().as_subclass(cls)

    def __repr__(self) -> str:  # type: ignore[override]
        return repr(self.item()) if self.numel() == 1 else super().__repr__()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.numel() == 1 else super().__format__(spec)

    def __round__(self, digits: int | None = None) -> float:
        return round(self.item(), digits)
