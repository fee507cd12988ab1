"""Networks: tensors to tensors, `(..., *in_shape) -> (..., *out_shape)`, any leading shape."""

from .convolutional import ConvDecoder, ConvEncoder
from .made import MaskedMLP
from .missing import ZeroImputed
from .mlp import MLP, GatedMLP
from .pixelcnn import PixelCNN
from .residual import ResidualDecoder, ResidualEncoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "GatedMLP",
    "MLP",
    "MaskedMLP",
    "PixelCNN",
    "ResidualDecoder",
    "ResidualEncoder",
    "ZeroImputed",
]
