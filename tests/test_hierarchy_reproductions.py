"""What hierarchies reach, up to an hour each: PYRO_VAE_DATA=data pytest -m slow -s -k hierarchy.

The folder has `MNIST/raw` and `cifar10_subset`; tests whose data are missing are skipped. The
commands of the page on hierarchies are the same trainings.
"""

import math
import os
from functools import partial
from pathlib import Path

import pyro
import pytest
from torch import nn

from pyro_vae.datasets import cifar10, mnist
from pyro_vae.inference import (
    Trace_ELBO,
    TraceMeanField_ELBO,
    cosine,
    evaluate,
    fit,
    linear,
    log_likelihood,
)
from pyro_vae.likelihoods import Bernoulli, DiscretizedLogistic
from pyro_vae.models import NVAE, HierarchicalVAE, LadderVAE

DATA = Path(os.environ.get("PYRO_VAE_DATA", "data"))
DIGITS, PHOTOGRAPHS = (1, 28, 28), (3, 32, 32)
DIMS = (64, 32, 16, 8, 4)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of torch's compiler, about itself
]


def needs(folder):
    return pytest.mark.skipif(not (DATA / folder).is_dir(), reason=f"PYRO_VAE_DATA has no {folder}")


def trained(build, data, epochs, *, batch_size, lr=1e-3, end=0.01, optim="Adam", **options):
    pyro.set_rng_seed(0)
    program = build()
    steps = epochs * math.ceil(len(data.train) / batch_size)
    options |= {"lr_schedule": cosine(1, end, steps), "compile": True, "valid_every": 10}
    optimizer = getattr(pyro.optim, optim)({"lr": lr})
    fit(
        program,
        data.train,
        valid=data.valid,
        epochs=epochs,
        batch_size=batch_size,
        optim=optimizer,
        **options,
    )
    return program


def rates_of(program, x):
    """The mean rate and the active units of each latent, printed, from the top."""
    found = evaluate(program, x)
    rates = {name: rate.mean().item() for name, rate in found.rates.items()}
    units = {name: found.active_units[name].active for name in rates}
    print({name: f"{rate:.2f} nats, {units[name]} active" for name, rate in rates.items()})
    return rates, units, found.bound.mean().item()


def likelihood_of(data):
    return Bernoulli(DIGITS, data.train.x.mean(0))


@needs("MNIST")
def test_the_five_layers_of_a_hierarchy_with_a_ladder_are_used():
    """The paper, after 2,000 epochs: -82.12."""
    data = mnist(DATA, valid=1_000)
    program = trained(
        lambda: LadderVAE(DIGITS, DIMS, likelihood=likelihood_of(data)),
        data,
        450,
        batch_size=256,
        loss=TraceMeanField_ELBO(beta=linear(0, 1, 23_100)),
        bfloat16=True,
        recompute_batch_statistics=True,
    )
    _, units, _ = rates_of(program, data.test.x)
    found = log_likelihood(program, data.test.x, 1000).mean().item()
    print(f"log-likelihood, K = 1000: {found:.2f}")
    assert sum(active > 0 for active in units.values()) >= 3 and found > -84.5


@needs("MNIST")
def test_without_a_ladder_and_a_warm_up_the_upper_layers_collapse():
    data = mnist(DATA, valid=1_000)
    units = [(n, n) for n in (512, 256, 128, 64, 32)]
    parts = {"likelihood": likelihood_of(data), "hidden": units, "activation": nn.LeakyReLU}
    program = trained(
        lambda: HierarchicalVAE(DIGITS, DIMS, **parts),
        data,
        30,
        batch_size=256,
        bfloat16=True,
    )
    rates, active, _ = rates_of(program, data.test.x)
    assert all(abs(rates[name]) < 0.01 and not active[name] for name in ("z_5", "z_4", "z_3"))


@needs("MNIST")
def test_two_layers_reach_the_paper():
    """The paper, K = 1, after 3,280 epochs: -85.33."""
    data = mnist(DATA, valid=1_000)
    program = trained(
        lambda: HierarchicalVAE(DIGITS, likelihood=likelihood_of(data)),
        data,
        300,
        batch_size=100,
        lr=1.5e-3,
        loss=Trace_ELBO(beta=linear(0, 1, 20_000)),
        bfloat16=True,
    )
    found = log_likelihood(program, data.test.x, 5000).mean().item()
    print(f"log-likelihood, K = 5000: {found:.2f}")
    assert found > -86.0


@needs("cifar10_subset")
def test_ten_groups_of_photographs_are_all_used():
    data = cifar10(DATA)
    sizes = {"groups": (5, 5), "channels": 8, "expansion": 3, "kernel_size": 3}
    build = partial(NVAE, PHOTOGRAPHS, **sizes, likelihood=DiscretizedLogistic(PHOTOGRAPHS))
    program = trained(
        build,
        data,
        20,
        batch_size=64,
        lr=2e-3,
        end=0.05,
        optim="Adamax",
        loss=TraceMeanField_ELBO(beta=linear(1e-4, 1, 1_000)),
    )
    rates, _, bound = rates_of(program, data.test.x)
    bits = -bound / math.prod(PHOTOGRAPHS) / math.log(2)
    print(f"{bits:.3f} bits per dimension")
    assert min(rates.values()) > 0 and bits < 6.25  # of a convolutional VAE: 6.258


@needs("MNIST")
def test_ten_groups_of_digits_are_all_used():
    data = mnist(DATA)
    sizes = {"groups": (5, 5), "channels": 8, "blocks": 2, "padding": 2}
    sizes |= {"expansion": 3, "kernel_size": 3}
    program = trained(
        partial(NVAE, DIGITS, **sizes, likelihood=likelihood_of(data)),
        data,
        4,
        batch_size=64,
        lr=2e-3,
        end=0.05,
        optim="Adamax",
        loss=TraceMeanField_ELBO(beta=linear(1e-4, 1, 2_000), kl_balance=True),
        recompute_batch_statistics=True,
    )
    rates, _, bound = rates_of(program, data.valid.x)
    print(f"bound {bound:.2f} nats")
    assert min(rates.values()) > 0.5 and bound > -100
