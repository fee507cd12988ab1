"""Variational autoencoders as Pyro programs: one file, one generative story, one paper."""

if not __name__.startswith("pyro_vae."):  # a second copy of every class would follow
    raise ImportError("import pyro_vae.models, not models: the folder is installed inside pyro_vae")

from .linear_gaussian import LinearGaussian
from .vae import VAE

__all__ = ["VAE", "LinearGaussian"]
