"""Codes that are drawn: the posterior of the stochastically quantized VAE."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vae.checks import check_positive
from pyro_vae.distributions import RelaxedCodes, StochasticCodes

from .quantizer import Quantizer, check_codebook

__all__ = ["StochasticCode"]


class StochasticCode(Quantizer):
    """q(k | x) proportional to exp(-|h - e_k|^2 / 2 s^2) at each position, codes and s learned.

    The ELBO then has an entropy, so that nothing else keeps encoder and codes together: there is
    no penalty to weigh. As s falls, the nearest code takes all. Training draws mixtures of codes,
    which carry a gradient, so that its value is no bound; evaluation draws codes, and is one.

    The choice is the paper's, and the bound is not: in the paper a code with noise of scale s
    stands between code and encoder, which costs E|h - e_k|^2 / 2 s^2 more. Here the codes are all
    the latents there are.

    Args:
        num_codes: K.
        code_dim: D, the channels of z.
        scale: s at the start.
        temperature: Of the mixtures in training.

    Reference:
        Takida et al., 2022, https://arxiv.org/abs/2205.07547, section 3
    """

    def __init__(
        self,
        num_codes: int = 512,
        code_dim: int = 64,
        *,
        scale: float = 1.0,
        temperature: float = 0.5,
    ) -> None:
        check_codebook(num_codes, code_dim)
        super().__init__(num_codes, code_dim)
        check_positive(scale=scale, temperature=temperature)
        self.temperature = temperature
        self.codes = nn.Parameter(torch.randn(num_codes, code_dim) / code_dim**0.5)
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    def forward(self, h: Tensor) -> StochasticCodes | RelaxedCodes:
        """Maps h (..., D, H, W) to independent draws of a code at each position."""
        logits = -self._distances(h) / (2 * (2 * self.log_scale).exp())
        if self.training:
            return RelaxedCodes(logits, self.codes, self.temperature)
        return StochasticCodes(self, logits, self.codes)

    def indices(self, z: Tensor) -> Tensor:
        """The number of the nearest code at each position: (..., D, H, W) to (..., H, W)."""
        return self._distances(z).argmin(-1)

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of given numbers: (..., H, W) to (..., D, H, W)."""
        return F.embedding(indices, self.codes).movedim(-1, -3)

    def _distances(self, h: Tensor) -> Tensor:
        """|h - e|^2 less |h|^2, which is the same for all codes: (..., H, W, K)."""
        return (self.codes**2).sum(-1) - 2 * h.movedim(-3, -1) @ self.codes.T
