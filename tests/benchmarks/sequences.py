"""The sequence program of the benchmark: LSTMs of torch, one call each."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vae.inference import Trace_ELBO
from pyro_vae.likelihoods import RecurrentTokens
from pyro_vae.models import VAE
from pyro_vae.networks import MLP, RecurrentEncoder

from .case import Case

__all__ = ["sentences"]


def sentences(num_tokens: int = 5000, length: int = 32, batch: int = 64) -> Case:
    """Sentences of up to 31 words out of 5,000 by LSTMs of 256 units, batch 64."""
    likelihood = RecurrentTokens((length,), num_tokens=num_tokens)
    networks = {"encoder": RecurrentEncoder, "decoder": partial(MLP, hidden=())}
    vae = VAE((length,), 32, likelihood=likelihood, **networks)
    places = torch.arange(length)

    def encoded(x: Tensor) -> Tensor:
        net, there = vae.encoder, x >= 0
        last = there.sum(1, keepdim=True) - 1
        words = net.embedding(x.clamp(min=0))
        back = (last - places).clamp(min=0).unsqueeze(-1).expand(words.shape)
        read = zip(net.cells, (words, words.gather(1, back)), strict=True)
        at = last.unsqueeze(-1).expand(-1, 1, 256)
        return net.summary(torch.cat([cell(w)[0].gather(1, at)[:, 0] for cell, w in read], -1))

    def loss(x: Tensor) -> Tensor:
        loc, log_scale = encoded(x).unflatten(-1, (2, 32)).unbind(-2)
        noise = torch.randn_like(loc)
        z = loc + log_scale.exp() * noise
        h = vae.decoder(z)
        start = x.new_full((len(x), 1), num_tokens)
        before = torch.cat([start, x[:, :-1].clamp(min=0)], 1)
        beside = h.unsqueeze(1).expand(-1, length, -1)
        inner = likelihood.first(h).unsqueeze(0)
        given = torch.cat([likelihood.embedding(before), beside], -1)
        states, _ = likelihood.cell(given, (inner.tanh(), inner))
        logits = likelihood.read(states)
        distortion = F.cross_entropy(
            logits.flatten(0, 1), x.flatten(), ignore_index=-1, reduction="sum"
        )
        return distortion + (0.5 * (z**2 - noise**2) - log_scale).sum()

    ends = torch.randint(4, length, (5, batch, 1))
    words = torch.randint(1, num_tokens, (5, batch, length))
    x = torch.where(places < ends, words, torch.where(places == ends, 0, -1))
    title = f"(k) LSTM VAE of {num_tokens:,} words, {length} places, batch {batch}"
    return Case(title, vae, x, Trace_ELBO(), loss)
