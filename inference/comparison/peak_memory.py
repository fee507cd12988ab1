"""The memory that a computation takes at its peak."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_memory"]


def peak_memory(compute: Callable[[], Any], device: torch.device) -> int:
    """The largest number of bytes that a computation takes at once, beyond those taken before.

    On CUDA it is what torch's allocator reports (`torch.cuda.max_memory_allocated`). Elsewhere it
    counts the tensors that exist at once, those kept for the backward pass included, but neither
    the scratch space inside a kernel nor what is no tensor.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        compute()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveTensors() as tensors:
        compute()
    return tensors.peak


class _LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that are made and freed while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self._add(tree_leaves((args, kwargs)), counted=False)  # these were here before
        result = function(*args, **(kwargs or {}))
        self._add(tree_leaves(result), counted=True)
        self.peak = max(self.peak, self.now)
        return result

    def _add(self, values: Iterable[Any], *, counted: bool) -> None:
        for value in values:
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()  # which views share
            key = storage._cdata
            if key not in self._sizes:
                self._sizes[key] = storage.nbytes() if counted else 0
                self.now += self._sizes[key]
                weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
