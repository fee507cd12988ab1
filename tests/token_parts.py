"""The parts for sequences of tokens, which a program of images cannot have."""

import inspect
import itertools
from functools import partial

import torch

from pyro_vae import likelihoods, models, networks

TOKEN_LIKELIHOODS = [likelihoods.RecurrentTokens, likelihoods.TransformerTokens]
SMALL = {
    likelihoods.RecurrentTokens: {"embedding_dim": 4, "units": 6},
    likelihoods.TransformerTokens: {"width": 4, "heads": 2, "layers": 2},
}


def likelihood_of_tokens(part, length=4, **options):
    """A small likelihood of three tokens."""
    return part((length,), num_tokens=3, context_dim=5, **SMALL[part] | options)


def of_tokens(part):
    """A VAE with such a likelihood; None of another part."""
    if part not in TOKEN_LIKELIHOODS:
        return None
    encoder = partial(networks.RecurrentEncoder, embedding_dim=4, units=6)
    return models.VAE((4,), 3, likelihood=likelihood_of_tokens(part), encoder=encoder, hidden=(8,))


def all_sequences(num_tokens, length, end):
    """Every sequence of at most so many tokens, closed by the end, with -1 behind it."""
    found = set()
    for tokens in itertools.product(range(num_tokens), repeat=length):
        kept = tokens[: tokens.index(end) + 1] if end in tokens else tokens
        found.add((*kept, *[-1] * (length - len(kept))))
    return torch.tensor(sorted(found))


def needs_tokens(part):
    """Whether a part is built for a number of tokens."""
    return "num_tokens" in inspect.signature(part).parameters
