"""Priors p(z): modules whose `forward()` returns a distribution over one latent `z`.

`latent_dim` is the size of z, or its shape. A prior that is made of the program's own parts has a
method `attach(encoder, posterior)`, which the program calls once it has them, and reports them as
`attached`.

The names here are those in the `__all__` of the files: to add a prior is to add its file. The
imports below tell them to editors and type checkers, which do not run code.
"""

from typing import TYPE_CHECKING

from pyro_vae.exports import export_files

if TYPE_CHECKING:
    from .autoregressive import AutoregressivePrior as AutoregressivePrior
    from .diffusion_prior import DiffusionPrior as DiffusionPrior
    from .flat import Flat as Flat
    from .flow_prior import FlowPrior as FlowPrior
    from .gaussian_mixture import GaussianMixture as GaussianMixture
    from .heavy_tails import Laplace as Laplace
    from .heavy_tails import StudentT as StudentT
    from .one_hot import UniformOneHot as UniformOneHot
    from .one_hot import UniformRelaxedOneHot as UniformRelaxedOneHot
    from .pixelcnn_prior import PixelCNNPrior as PixelCNNPrior
    from .rescaled import Rescaled as Rescaled
    from .standard_normal import StandardNormal as StandardNormal
    from .transformer_prior import TransformerPrior as TransformerPrior
    from .uniform_codes import UniformCodes as UniformCodes
    from .uniform_sphere import UniformSphere as UniformSphere
    from .vamp_prior import VampPrior as VampPrior

__all__ = export_files(__name__)
