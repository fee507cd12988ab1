"""Sticking the landing (Roeder et al., 2017, https://arxiv.org/abs/1703.09194)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyro_vae.inference.terms import Function, Latent, Terms

from .elbo import Trace_ELBO

__all__ = ["STL"]


@dataclass(frozen=True)
class STL(Trace_ELBO):
    """The ELBO with a gradient that vanishes, noise and all, where the guide is the posterior.

        d/dphi log w  =  d log w / dz * dz / dphi,    without  -d log q(z; phi) / dphi at fixed z

    The term left out, the score, has mean zero, so the gradient is unbiased as that of
    `Trace_ELBO` is; its variance goes to zero with the distance from the posterior, where the
    latter's does not. For a guide of several latents the guide runs a second time, on detached
    draws; its networks must then be deterministic. Guides that are flows must have an inverse.

    Reference:
        Roeder et al., 2017, https://arxiv.org/abs/1703.09194
    """

    reference, is_linear = Trace_ELBO.reference, Trace_ELBO.is_linear
    formula = Trace_ELBO.formula
    shares_path = False  # of the densities of q the draws alone have a gradient
    about_gradient = (
        "sticking the landing has the value of the ELBO; its gradient leaves out the score "
        r"$\nabla_{\phi} \log q(z \mid x; \phi)$ at fixed $z$, whose mean is zero"
    )

    def kl(self, latent: Latent) -> Tensor:
        """The KL of one latent, (K, N)."""
        return latent.log_q - latent.log_p

    def check(self, t: Terms) -> None:
        """Refuses latents without reparameterized draws."""
        self.check_reparameterized(t)

    def terms(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> Terms:
        """The terms of the bound, without the score."""
        return super().terms(model, guide, *args, **kwargs).without_score("STL", points=True)
