"""Networks: tensors to tensors, `(..., *in_shape) -> (..., *out_shape)`, any leading shape."""

from .mlp import MLP

__all__ = ["MLP"]
