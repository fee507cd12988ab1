"""What a discriminator and its opponent pay for the logit of an image, as functions of the logit.

A logit is large where the discriminator takes the image for data. Costs go down.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor
from torch.nn.functional import relu, softplus

__all__ = ["GANLoss", "Hinge", "Minimax", "NonSaturating"]


class GANLoss(Protocol):
    """The three costs, each of the shape of the logits, and where the two are in balance."""

    @property
    def equilibrium(self) -> float:
        """What `real` and `fake` are for a discriminator that cannot tell the two apart."""

    def real(self, logit: Tensor) -> Tensor:
        """What the discriminator pays for an image of the data."""

    def fake(self, logit: Tensor) -> Tensor:
        """What the discriminator pays for an image of the program."""

    def generator(self, logit: Tensor) -> Tensor:
        """What the program pays for an image of its own."""


@dataclass(frozen=True)
class Minimax:
    """Cross-entropy, D = sigmoid(logit), and a program that climbs what the discriminator descends.

        real -log D,    fake -log(1 - D),    generator log(1 - D)

    Where the discriminator wins, D near 0, the program's gradient vanishes.

    Reference:
        Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, eq. 1
    """

    equilibrium: ClassVar[float] = 0.6931471805599453  # log 2, at D = 1/2

    def real(self, logit: Tensor) -> Tensor:
        """-log D."""
        return softplus(-logit)

    def fake(self, logit: Tensor) -> Tensor:
        """-log(1 - D)."""
        return softplus(logit)

    def generator(self, logit: Tensor) -> Tensor:
        """log(1 - D)."""
        return -softplus(logit)


@dataclass(frozen=True)
class NonSaturating(Minimax):
    """As `Minimax`, but the program descends -log D, whose gradient is there where it loses.

    Reference:
        Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, section 3
    """

    def generator(self, logit: Tensor) -> Tensor:
        """-log D."""
        return softplus(-logit)


@dataclass(frozen=True)
class Hinge:
    """Costs that end at a margin, beyond which the discriminator has nothing to gain.

        real max(0, 1 - logit),    fake max(0, 1 + logit),    generator -logit

    Reference:
        Lim and Ye, 2017, https://arxiv.org/abs/1705.02894
    """

    equilibrium: ClassVar[float] = 1.0  # at a logit of 0

    def real(self, logit: Tensor) -> Tensor:
        """max(0, 1 - logit)."""
        return relu(1 - logit)

    def fake(self, logit: Tensor) -> Tensor:
        """max(0, 1 + logit)."""
        return relu(1 + logit)

    def generator(self, logit: Tensor) -> Tensor:
        """-logit."""
        return -logit
