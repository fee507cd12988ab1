"""The cases as NumPyro programs: same networks, same initial parameters, same bounds."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array, jit, lax, random
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO
from torch import nn

from .peers import LEARNING_RATE, Peer
from .programs import Case, Groups

Program = tuple[Callable[[Array], None], Callable[[Array], None]]
ACTIVATIONS = {nn.Softplus: jax.nn.softplus, nn.Tanh: jnp.tanh}


def linear(name: str, layer: nn.Linear, h: Array) -> Array:
    """A layer that begins with the values of torch's."""
    weight = numpyro.param(f"{name}.weight", jnp.asarray(layer.weight.detach().numpy().T))
    bias = numpyro.param(f"{name}.bias", jnp.asarray(layer.bias.detach().numpy()))
    return h @ weight + bias


def mlp(name: str, layers: nn.Sequential, h: Array) -> Array:
    """The multilayer perceptron of torch's layers."""
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            h = linear(f"{name}.{i}", layer, h)
        else:
            h = ACTIVATIONS[type(layer)](h)
    return h


def normal(h: Array) -> dist.Distribution:
    """N(loc, exp(log_scale)^2), from loc and log_scale side by side."""
    loc, log_scale = jnp.split(h, 2, -1)
    return dist.Normal(loc, jnp.exp(log_scale)).to_event(1)


def vae(program: Any) -> Program:
    """The VAE of MLPs, for x (N, D)."""
    prior = dist.Normal(jnp.zeros(program.posterior.latent_dim), 1.0).to_event(1)

    def model(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", prior)
            logits = mlp("decoder", program.decoder.layers, z)
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", normal(mlp("encoder", program.encoder.layers, x)))

    return model, guide


def groups(program: Groups) -> Program:
    """The chain of latent groups, for x (N, D)."""
    last = program.num_groups - 1
    prior = dist.Normal(jnp.zeros(program.size), 1.0).to_event(1)

    def model(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            z = numpyro.sample(f"z_{last}", prior)
            for i in reversed(range(last)):
                h = linear(f"prior.{i}", program.prior_nets[i], z)
                z = numpyro.sample(f"z_{i}", normal(h))
            logits = linear("decoder", program.decoder, z)
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            h = x
            for i, net in enumerate(program.guide_nets):
                h = numpyro.sample(f"z_{i}", normal(linear(f"guide.{i}", net, h)))

    return model, guide


def numpyro_svi(case: Case, *, scan: bool) -> Peer:
    """NumPyro's SVI, in one jitted step for each batch or one jitted scan over all.

    The state is donated, so that Adam works in place as torch's does.
    """
    program = case.program
    model, guide = groups(program) if isinstance(program, Groups) else vae(program)
    k = case.loss.num_particles
    elbo = Trace_ELBO() if k == 1 else RenyiELBO(alpha=0, num_particles=k)
    svi = SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), elbo)
    x = jnp.asarray(case.x.flatten(2).numpy())
    batches, seeds = list(x), count()
    state = svi.init(random.key(0), x[0])
    update, evaluate = jit(svi.update, donate_argnums=0), jit(svi.evaluate)
    scanned = jit(partial(lax.scan, svi.update), donate_argnums=0)

    def epoch() -> None:
        nonlocal state
        if scan:
            state, _ = scanned(state, x)
        else:
            for batch in batches:
                state, _ = update(state, batch)
        jax.block_until_ready(state)

    def draw() -> float:
        return float(evaluate(state._replace(rng_key=random.key(next(seeds))), batches[0]))

    return Peer(epoch, draw)
