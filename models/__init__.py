"""Variational autoencoders as Pyro programs: one file, one generative story, one paper."""

if not __name__.startswith("pyro_vae."):  # a second copy of every class would follow
    raise ImportError("import pyro_vae.models, not models: the folder is installed inside pyro_vae")

from .autoencoder import Autoencoder
from .autoregressive_model import AutoregressiveModel
from .bayesian_vae import BayesianVAE
from .conditional_vae import ConditionalVAE
from .deep_markov_model import DeepMarkovModel
from .gaussian_mixture_vae import GaussianMixtureVAE
from .hierarchical_vae import HierarchicalVAE
from .hvae import HVAE
from .kl_autoencoder import KLAutoencoder
from .ladder_vae import LadderVAE
from .latent_diffusion import LatentDiffusion
from .linear_gaussian import LinearGaussian
from .not_miwae import NotMIWAE
from .nvae import NVAE
from .refit import Refit
from .semi_supervised_vae import SemiSupervisedVAE
from .vae import VAE
from .vqvae import VQVAE

__all__ = [
    "Autoencoder",
    "AutoregressiveModel",
    "BayesianVAE",
    "ConditionalVAE",
    "DeepMarkovModel",
    "GaussianMixtureVAE",
    "HVAE",
    "HierarchicalVAE",
    "KLAutoencoder",
    "LadderVAE",
    "LatentDiffusion",
    "LinearGaussian",
    "NVAE",
    "NotMIWAE",
    "Refit",
    "SemiSupervisedVAE",
    "VAE",
    "VQVAE",
]
