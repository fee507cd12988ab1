"""Mixed precision: the products of layers in bfloat16, everything else as it was."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["layers_in_bfloat16", "layers_in_float32"]

_MANY = 1_000_000  # multiplications
_PAUSED: ContextVar[bool] = ContextVar("paused", default=False)
_LAYERS = {
    F.linear,
    F.bilinear,
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
}


def layers_in_bfloat16(wanted: bool = True) -> AbstractContextManager[Any]:
    """Multiplies the float32 inputs and weights of large layers in bfloat16.

    Large are all convolutions, and linear layers of a million multiplications on.

    Their products are summed, biased and handed on in float32, as are draws, log densities and
    gradients; `torch.autocast` would go on in bfloat16, whose 8 bits are too few for a log density.

    Args:
        wanted: False leaves the layers as they are.
    """
    return _LayersInBfloat16() if wanted else nullcontext()


@contextmanager
def layers_in_float32() -> Iterator[None]:
    """Leaves all layers as they are, within `layers_in_bfloat16`, for runs that are compared."""
    token = _PAUSED.set(True)
    try:
        yield
    finally:
        _PAUSED.reset(token)


class _LayersInBfloat16(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _LAYERS or _PAUSED.get():
            return func(*args, **kwargs)
        tensors = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)]
        plain = all(tensor.dtype is torch.float32 for tensor in tensors)
        if not plain or (func is F.linear and _is_small(*args, **kwargs)):
            return func(*args, **kwargs)
        half = [_halved(arg) for arg in args]
        return func(*half, **{name: _halved(arg) for name, arg in kwargs.items()}).float()


def _is_small(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> bool:
    """Whether rounding would cost more than the product; the names are those of `F.linear`."""
    return input.numel() * weight.shape[0] < _MANY


def _halved(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) else value
