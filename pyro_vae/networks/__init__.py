"""Networks: tensors to tensors, `(..., *in_shape) -> (..., *out_shape)`, any leading shape."""

from .added import Added
from .convolutional import ConvDecoder, ConvEncoder
from .joined import Joined, JoinedGatedMLP
from .made import MaskedMLP
from .missing import ZeroImputed
from .mlp import MLP, GatedMLP
from .pixelcnn import PixelCNN
from .recurrent import BackwardGRU, Combiner, GatedTransition, sequence_mask
from .residual import ResidualDecoder, ResidualEncoder

__all__ = [
    "Added",
    "BackwardGRU",
    "Combiner",
    "ConvDecoder",
    "ConvEncoder",
    "GatedMLP",
    "GatedTransition",
    "Joined",
    "JoinedGatedMLP",
    "MLP",
    "MaskedMLP",
    "PixelCNN",
    "ResidualDecoder",
    "ResidualEncoder",
    "ZeroImputed",
    "sequence_mask",
]
