"""Networks: tensors to tensors, `(..., *in_shape) -> (..., *out_shape)`, any leading shape.

Each is built as `Net(in_shape, out_shape, ...)`. A network of several inputs has a tuple of shapes
for its in_shape, such as `((1, 28, 28), (10,))`, and is called with as many tensors.
Discriminators are built from x_shape alone, and their out_shape is that of their logits.
"""

from .added import Added
from .attention import AttentionBlock as AttentionBlock
from .attention import Past as Past
from .attention import check_attention as check_attention
from .convolutional import ConvDecoder, ConvEncoder
from .discriminators import Discriminator, PatchDiscriminator
from .gated_residual import GatedResidual
from .joined import Joined, JoinedGatedMLP
from .kl import KLDecoder, KLEncoder
from .made import MaskedMLP
from .missing import ZeroImputed
from .mlp import MLP, GatedMLP
from .network import Network as Network
from .perceptual import PerceptualDistance
from .pixelcnn import PixelCNN
from .recurrent import BackwardGRU, Combiner, GatedTransition
from .recurrent_cell import recurrent_cell as recurrent_cell
from .residual import ResidualDecoder, ResidualEncoder
from .residual_cells import DecoderCell, EncoderCell, SqueezeExcitation
from .scales import BottomUp as BottomUp
from .scales import NormalizedConv as NormalizedConv
from .scales import doubling_cells as doubling_cells
from .scales import image_head as image_head
from .self_masking import SelfMasking
from .time_mlp import TimeMLP
from .token_encoders import ConvTokensEncoder, RecurrentEncoder, TransformerEncoder
from .unet import UNet

__all__ = [
    "Added",
    "BackwardGRU",
    "Combiner",
    "ConvDecoder",
    "ConvEncoder",
    "ConvTokensEncoder",
    "DecoderCell",
    "Discriminator",
    "EncoderCell",
    "GatedMLP",
    "GatedResidual",
    "GatedTransition",
    "Joined",
    "JoinedGatedMLP",
    "KLDecoder",
    "KLEncoder",
    "MLP",
    "MaskedMLP",
    "PatchDiscriminator",
    "PerceptualDistance",
    "PixelCNN",
    "RecurrentEncoder",
    "ResidualDecoder",
    "ResidualEncoder",
    "SelfMasking",
    "SqueezeExcitation",
    "TimeMLP",
    "TransformerEncoder",
    "UNet",
    "ZeroImputed",
]
