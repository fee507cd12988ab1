"""How sharply an autoregressive prior draws: temperature and top-k."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["sampling", "sharpened"]


@dataclass
class _Sharpness:
    temperature: float = 1.0
    top_k: int | None = None
    was_asked: bool = False


_SHARPNESS: ContextVar[_Sharpness | None] = ContextVar("sharpness", default=None)


@contextmanager
def sampling(temperature: float = 1.0, top_k: int | None = None) -> Iterator[None]:
    """Draws classes with probabilities softmax(logits / temperature), of the top_k largest alone.

    Args:
        temperature: 1 is the model; below, probable classes become more so.
        top_k: How many classes may be drawn; None for all.

    Raises:
        ValueError: If the numbers are out of their range, or, at the end, if no prior that draws
            classes one after the other has drawn.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, but is {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, but is {top_k}")
    sharpness = _Sharpness(temperature, top_k)
    token = _SHARPNESS.set(sharpness)
    try:
        yield
    finally:
        _SHARPNESS.reset(token)
    if not sharpness.was_asked and (temperature != 1.0 or top_k is not None):
        raise ValueError(
            "temperature and top_k are for priors that draw codes one after the other, such as "
            "PixelCNNPrior, and this program has none"
        )


def sharpened(logits: Tensor) -> Tensor:
    """Logits (..., K) as `sampling` wants them."""
    sharpness = _SHARPNESS.get()
    if sharpness is None:
        return logits
    sharpness.was_asked = True
    logits = logits / sharpness.temperature
    if sharpness.top_k is None or sharpness.top_k >= logits.shape[-1]:
        return logits
    least = logits.topk(sharpness.top_k).values[..., -1:]
    return torch.where(logits < least, -torch.inf, logits)
