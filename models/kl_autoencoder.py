"""Stable Diffusion's autoencoder (Rombach et al., 2022, https://arxiv.org/abs/2112.10752)."""

import math
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.factors import training_factor
from pyro_vae.frozen import freeze
from pyro_vae.kl_weights import load_kl_weights
from pyro_vae.likelihoods import Laplace
from pyro_vae.networks import KLDecoder, KLEncoder
from pyro_vae.posteriors import DiagonalNormal
from pyro_vae.priors import StandardNormal
from pyro_vae.wiring import Parts, attach

__all__ = ["KLAutoencoder"]


class KLAutoencoder(PyroModule):
    """z ~ p(z), maps of latents;  x ~ Laplace(decoder(z), scale);  guide: z ~ Normal(encoder(x)).

    The autoencoder that latent diffusion stands on, KL-f8 where its four sizes of an image make z
    an eighth as high and wide. Its objective is that of a VAE whose KL hardly counts,

        pyro-vae train KLAutoencoder --data cifar10 --loss "Trace_ELBO(beta=1e-6)"

    so that the guide is an encoder with a little noise, and its latents are far from N(0, I). The
    bound that `evaluate` reports is at beta = 1, and it is bad: the KL has hundreds or thousands of
    nats, and a Laplace of scale 1 between black = -1 and white = 1 has nowhere a higher density
    than the uniform one has. This is no model of images yet; it becomes one with a prior that has
    learned where the latents are, and with a scale that is learned:

        pyro-vae train "Refit(load('runs/kl'), prior=Rescaled((4, 8, 8),
            prior=DiffusionPrior((4, 8, 8))))" --data cifar10

    Images are as in all programs from 0 to 1 (`levels`), so that bounds are log densities of x and
    can be compared; the layers see them from -1 to 1. The site z is what the prior is to see: with
    a scaling factor s and a shift factor m it is z = s (z' - m), where z' is the latent of the
    layers. A prior of z' has log p(z') = log p(z) + (the size of z) log s.

    Args:
        x_shape: The shape of one image (C, H, W), whose sides f = 2^(len(channels) - 1) divides.
        latent_channels: The first number of z's shape (latent_channels, H / f, W / f).
        channels: Those of the layers at each size of the image.
        blocks: The residual blocks of the encoder at each size; the decoder has one more.
        groups: The groups of channels that are normalized together; see `KLEncoder`.
        quant_conv: Whether a 1x1 convolution stands on either side of z.
        prior: p(z), by default N(0, I).
        scale: The scale of the Laplace likelihood, with black at -1 and white at 1; None learns it.
        scaling_factor: s, such as 1 over the standard deviation of the layers' latents.
        shift_factor: m, such as their mean.
        levels: Which values of x are black and white.
        perceptual: A network of two images, such as `PerceptualDistance`, that tells how different
            they look; it is frozen. Minus its value at x and its reconstruction, times the numbers
            of x, is the training factor "perceptual":
            `Trace_ELBO(beta=1e-6, factors={"perceptual": 0.1})`.
        weights: A safetensors file, or a folder of diffusers, with weights for these arguments.

    Raises:
        ValueError: If the sizes do not fit, the weights are a pickle or of another size, the
            perceptual network takes other images, or the extra diffusers is not installed.
        FileNotFoundError: If there are no such weights.

    Example:
        >>> program = KLAutoencoder((3, 32, 32), channels=(8, 16, 16))
        >>> program.prior().sample().shape
        torch.Size([4, 8, 8])
    """

    prior: Any
    likelihood: Any
    posterior: Any
    encoder: Any
    decoder: Any
    perceptual: Any

    def __init__(
        self,
        x_shape: Sequence[int],
        *,
        latent_channels: int = 4,
        channels: Sequence[int] = (32, 64, 64),
        blocks: int = 1,
        groups: int | None = None,
        quant_conv: bool = True,
        prior: nn.Module | None = None,
        scale: float | None = 1.0,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
        levels: tuple[float, float] = (0.0, 1.0),
        perceptual: nn.Module | None = None,
        weights: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        parts, x_shape, f = Parts(self), tuple(x_shape), 2 ** max(len(channels) - 1, 0)
        latent_dim = (latent_channels, *(side // f for side in x_shape[-2:]))
        shared: dict[str, Any] = {"channels": channels, "blocks": blocks, "groups": groups}
        shared |= {"scaling_factor": scaling_factor, "shift_factor": shift_factor, "levels": levels}
        up = partial(KLEncoder, quant_conv=quant_conv, **shared)
        down = partial(KLDecoder, post_quant_conv=quant_conv, **shared)
        self.encoder = parts.network("encoder", None, up, x_shape, (2, *latent_dim))
        self.decoder = parts.network("decoder", None, down, latent_dim, x_shape)
        self.prior = parts.prior(prior, StandardNormal, latent_dim)
        self.posterior = DiagonalNormal(latent_dim)
        half = (levels[1] - levels[0]) / 2  # a scale between -1 and 1 is so much between levels
        fixed = None if scale is None else scale * half
        self.likelihood = Laplace(x_shape, scale=fixed, initial_scale=half)
        self.perceptual = None if perceptual is None else freeze(_checked(perceptual, x_shape))
        attach(self.prior, self.encoder, self.posterior)
        if weights is not None:
            self.load_weights(weights)

    @classmethod
    def stable_diffusion_1(
        cls,
        x_shape: Sequence[int] = (3, 512, 512),
        *,
        prior: nn.Module | None = None,
        weights: str | os.PathLike[str] | None = None,
    ) -> "KLAutoencoder":
        """With the arguments of Stable Diffusion 1: 83,653,863 parameters, 4 latent channels."""
        channels, s = (128, 256, 512, 512), 0.18215
        return cls(
            x_shape, channels=channels, blocks=2, scaling_factor=s, prior=prior, weights=weights
        )

    @classmethod
    def stable_diffusion_3(
        cls,
        x_shape: Sequence[int] = (3, 512, 512),
        *,
        prior: nn.Module | None = None,
        weights: str | os.PathLike[str] | None = None,
    ) -> "KLAutoencoder":
        """With the arguments of Stable Diffusion 3: 83,819,683 parameters, 16 latent channels."""
        return cls(
            x_shape,
            latent_channels=16,
            channels=(128, 256, 512, 512),
            blocks=2,
            quant_conv=False,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            prior=prior,
            weights=weights,
        )

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Puts trained weights into encoder and decoder.

        Args:
            path: A safetensors file of diffusers' `AutoencoderKL`, or of the code of latent
                diffusion (`first_stage_model.*`), alone or in a whole Stable Diffusion; or a
                folder that diffusers has saved.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is a pickle, damaged, of something else, or of another size.
        """
        load_kl_weights(path, (self.encoder.layers, self.decoder.layers))

    @pyro_method
    def model(self, x: Tensor) -> Tensor:
        """Samples p(x, z) for x (N, *x_shape), and states how different reconstructions look."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            h = self.decoder(z)
            if self.perceptual is not None:
                training_factor("perceptual", -self._difference(x, h))
            return pyro.sample("x", self.likelihood(h), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        """Samples q(z | x) for x (N, *x_shape)."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(self.encoder(x)))

    def _difference(self, x: Tensor, h: Tensor) -> Tensor:
        """How different x (N, *x_shape) and h (..., N, *x_shape) look, (..., N), a number of x."""
        x_shape = self.likelihood.x_shape
        batch_shape = h.shape[: -len(x_shape)]
        folded = (math.prod(batch_shape), *x_shape)
        distance = self.perceptual(x.expand_as(h).reshape(folded), h.reshape(folded))
        return math.prod(x_shape) * distance.reshape(batch_shape)


def _checked(perceptual: nn.Module, x_shape: tuple[int, ...]) -> nn.Module:
    """Refuses a network that gives no distance of two such images."""
    like = next(perceptual.parameters(), torch.zeros(()))
    x = torch.zeros(2, *x_shape, device=like.device, dtype=like.dtype)
    try:
        with torch.no_grad():
            found = tuple(perceptual(x, x).shape)
    except Exception as error:  # a user's own code
        raise ValueError(
            f"the perceptual network of a KLAutoencoder of images {x_shape} is a "
            f"{type(perceptual).__name__}, which fails on two of them: {error}; give a network of "
            "two such images, such as PerceptualDistance(network)"
        ) from error
    if math.prod(found) != 2:
        raise ValueError(
            f"the perceptual network of a KLAutoencoder is a {type(perceptual).__name__}, which "
            f"gives {found} for two pairs of images, but expected one number a pair; give "
            "PerceptualDistance(network)"
        )
    return perceptual
