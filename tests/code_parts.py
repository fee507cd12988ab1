"""The parts for latents that are grids of codes, which go with each other alone."""

from pyro_vae import models, posteriors, priors

CODE_PRIORS = [priors.UniformCodes, priors.PixelCNNPrior, priors.TransformerPrior]
CODE_POSTERIORS = [
    posteriors.FSQ,
    posteriors.NearestCode,
    posteriors.SimVQ,
    posteriors.ResidualCodes,
    posteriors.StochasticCode,
]


def names_without_codes(room):
    """The public names of a room, but for these parts."""
    return [n for n in room.__all__ if getattr(room, n) not in [*CODE_PRIORS, *CODE_POSTERIORS]]


def of_codes(part, x_shape):
    """A VQ-VAE with such a prior or posterior; None of another part."""
    if part in CODE_PRIORS:
        small = {"UniformCodes": {}, "PixelCNNPrior": {"channels": 4, "layers": 2}}
        options = small.get(part.__name__, {"width": 4, "heads": 2, "layers": 1})
        return models.VQVAE(
            x_shape, prior=part(**options), posterior=posteriors.FSQ((3, 3)), channels=(4, 4)
        )
    if part in CODE_POSTERIORS:
        quantizer = part((3, 3)) if part is posteriors.FSQ else part(5, 3)
        return models.VQVAE(x_shape, posterior=quantizer, channels=(4, 4))
    return None
