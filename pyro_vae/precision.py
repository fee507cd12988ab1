"""Mixed precision: the products of layers in bfloat16, everything else as it was."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from .fastest import fastest

__all__ = ["layers_in_bfloat16", "layers_in_float32"]

_MANY = 1_000_000  # multiplications
_said: list[str] = []  # the layer that was warned of, since more warnings would say no more
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

    Large are all convolutions, and linear layers of a million multiplications on. On a CPU each
    shape of a layer is timed once, with its gradient: where bfloat16 is slower, as on processors
    without its instructions, the layer stays in float32, and a warning says so once.

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
        if not _is_faster(func, args, kwargs):
            return func(*args, **kwargs)
        return _in_halves(func, args, kwargs)


def _is_small(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> bool:
    """Whether rounding would cost more than the product; the names are those of `F.linear`."""
    return input.numel() * weight.shape[0] < _MANY


def _halved(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) else value


def _in_halves(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A layer's output, multiplied in bfloat16."""
    half = {name: _halved(arg) for name, arg in kwargs.items()}
    return func(*map(_halved, args), **half).float()


def _is_faster(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether bfloat16 is faster for a layer of these shapes, with its gradient, where it runs."""
    given = [*args, *kwargs.values()]
    if any(part.device.type != "cpu" for part in given if isinstance(part, Tensor)):
        return True
    names = [*("" for _ in args), *(f"{name}=" for name in kwargs)]
    shown = ", ".join(f"{name}{_shown(part)}" for name, part in zip(names, given, strict=True))
    layer = f"{func.__name__}({shown})"
    if fastest(f"{layer} with its gradient", partial(_ways, func, args, kwargs)) == "bfloat16":
        return True
    _say_once(layer)
    return False


def _ways(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Callable[[], Any]]:
    """A layer and its gradient in both types, on other tensors of the same shapes.

    Of a linear layer the three products, with the rounding of their factors: autograd's own Python
    would be a part of its time, which a graph has not.
    """
    if func is F.linear:
        x, weight = (part for part in (*args, *kwargs.values())[:2])
        columns, inner = weight.shape
        rows = x.numel() // inner
        factors = torch.ones(rows, inner), torch.ones(columns, inner), torch.ones(rows, columns)
        return {
            "float32": lambda: _products(*factors),
            "bfloat16": lambda: _products(*(factor.bfloat16() for factor in factors)),
        }
    leaves, shape = tree_flatten((args, dict(kwargs)))
    others = [
        torch.ones(leaf.shape, requires_grad=True) if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
    ]
    like = tree_unflatten(others, shape)
    return {
        "float32": lambda: _with_gradient(lambda args, kwargs: func(*args, **kwargs), *like),
        "bfloat16": lambda: _with_gradient(partial(_in_halves, func), *like),
    }


def _products(x: Tensor, weight: Tensor, gradient: Tensor) -> None:
    for product in (x @ weight.t(), gradient @ weight, gradient.t() @ x):
        product.float()


def _with_gradient(layer: Callable[..., Any], args: Any, kwargs: Any) -> None:
    with torch.enable_grad():
        layer(args, kwargs).sum().backward()


def _shown(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else str(value)


def _say_once(layer: str) -> None:
    """Warns of the first such layer."""
    if _said:
        return
    _said.append(layer)
    message = (
        f"bfloat16 is slower than float32 on this machine for {layer}, so that this layer, and "
        "others for which it is, multiply in float32"
    )
    warnings.warn(message, stacklevel=2)
