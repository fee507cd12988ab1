"""A model without latents, the baseline of a VAE whose likelihood is autoregressive."""

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.likelihoods import Bernoulli
from pyro_vae.wiring import Parts

__all__ = ["AutoregressiveModel"]


class AutoregressiveModel(PyroModule):
    """x ~ p(x | h), with one h for all data: no latents, and an empty guide.

    With `RecurrentTokens` it is a language model and with `PixelCNNLikelihood` a PixelCNN. A VAE of
    the same likelihood is worth its latents where its log p(x) is higher. Its ELBO is log p(x).

    Args:
        x_shape: The shape of one datum.
        likelihood: p(x | h), by default Bernoulli, whose entries are independent.

    Raises:
        ValueError: If the likelihood is of another shape.

    Reference:
        Bowman et al., 2016, https://arxiv.org/abs/1511.06349, whose RNNLM it is

    Example:
        >>> from pyro_vae.likelihoods import RecurrentTokens
        >>> model = AutoregressiveModel((5,), likelihood=RecurrentTokens((5,), num_tokens=3))
        >>> model.model(torch.tensor([[1, 2, 0, -1, -1]])).shape
        torch.Size([1, 5])
    """

    likelihood: Any

    def __init__(self, x_shape: Sequence[int], *, likelihood: nn.Module | None = None) -> None:
        super().__init__()
        self.likelihood = Parts(self).likelihood(likelihood, Bernoulli, tuple(x_shape))
        self.h = nn.Parameter(torch.zeros(self.likelihood.param_shape))

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            h = self.h.expand(len(x), *self.h.shape)
            return pyro.sample("x", self.likelihood(h), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples nothing, as there are no latents."""
