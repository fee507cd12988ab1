"""The deterministic autoencoder (Hinton and Salakhutdinov, 2006)."""

from collections.abc import Callable, Sequence

from torch import nn

from pyro_vae.posteriors import Delta
from pyro_vae.priors import Flat
from pyro_vae.shapes import LatentDim
from pyro_vae.wiring import Network

from .vae import VAE

__all__ = ["Autoencoder"]


class Autoencoder(VAE):
    """x ~ p(x | decoder(z)) at z = encoder(x): a `VAE` with prior `Flat` and posterior `Delta`.

    Its loss under `Trace_ELBO` is the reconstruction error, -log p(x | decoder(encoder(x))). It is
    the baseline of a `VAE`. The loss bounds no evidence, and as there is no p(z), the program
    cannot be sampled. The arguments are those of `VAE`.

    Reference:
        Hinton and Salakhutdinov, 2006, https://doi.org/10.1126/science.1127647;
        beside the VAE: Ghosh et al., 2020, https://arxiv.org/abs/1903.12436

    Example:
        >>> from pyro_vae.inference import reconstruct
        >>> reconstruct(Autoencoder((1, 8, 8), latent_dim=2), torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        latent_dim: LatentDim = 20,
        *,
        likelihood: nn.Module | None = None,
        encoder: Network | None = None,
        decoder: Network | None = None,
        hidden: Sequence[int] = (400,),
        activation: Callable[[], nn.Module] = nn.Softplus,
    ) -> None:
        super().__init__(
            x_shape,
            latent_dim,
            prior=Flat(latent_dim),
            likelihood=likelihood,
            posterior=Delta(latent_dim),
            encoder=encoder,
            decoder=decoder,
            hidden=hidden,
            activation=activation,
        )
