"""The sleep phase on programs with deterministic sites, missing values and other parameters."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam

from pyro_vae.inference import ReweightedWakeSleep

N = 50_000
X = torch.linspace(-1.0, 1.0, N, dtype=torch.float64)


def asleep(model, guide, x, *args):
    """The guide's own gradient asleep, per datum."""
    pyro.set_rng_seed(0)
    estimator = ReweightedWakeSleep(2, insomnia=0.0, max_plate_nesting=1)
    return -estimator.differentiable_loss(model, guide, x, *args) / len(x)


def guide_of(weight, site="z"):
    def guide(x, mask=None):
        with pyro.plate("data", len(x)):
            pyro.sample(site, dist.Normal(weight * x, 1.0))
            if mask is not None:
                pyro.sample("x_unobserved", dist.Normal(0.0, 1.0).expand([len(x)]).mask(~mask))

    return guide


def latent_and_data(x, **observation):
    z = pyro.sample("z", dist.Normal(0.5, 1.0).expand([len(x)]))
    pyro.deterministic("twice", 2 * z)
    pyro.sample("x", dist.Normal(z, 1.0), obs=x, **observation)


def model(x, mask=None):
    with pyro.plate("data", len(x)):
        latent_and_data(x, **({} if mask is None else {"obs_mask": mask}))


def expected(weight):
    """E[(z - w x) x] at z ~ N(0.5, 1), x = z + N(0, 1): E[z x] = 1.25, E[x^2] = 2.25."""
    return 1.25 - 2.25 * weight


# A draw's (z - w x) x deviates by less than 3.
TOLERANCE = 4 * 3 / math.sqrt(N)


def test_a_deterministic_site_is_no_datum():
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(asleep(model, guide_of(weight), X), weight)[0]
    assert gradient.item() == pytest.approx(expected(0.3), abs=TOLERANCE)


def test_missing_values_stay_missing_and_the_others_are_dreamt():
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    mask, x = torch.arange(N) % 2 == 0, torch.where(torch.arange(N) % 2 == 0, X, 0.0)
    gradient = torch.autograd.grad(asleep(model, guide_of(weight), x, mask), weight)[0]
    # Where x is missing it is 0, and tells nothing of the weight.
    assert gradient.item() == pytest.approx(expected(0.3) / 2, abs=TOLERANCE)


def test_a_reparametrized_model_dreams_as_itself():
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    other = poutine.reparam(model, {"z": LocScaleReparam(0.0)})
    guide = guide_of(weight, "z_decentered")
    gradient = torch.autograd.grad(asleep(other, guide, X), weight)[0]
    # The draw is z - 0.5 now: E[(z - 0.5) x] = 1.
    assert gradient.item() == pytest.approx(1.0 - 2.25 * 0.3, abs=TOLERANCE)


def test_a_model_with_a_factor_cannot_dream():
    def weighed(x):
        model(x)
        pyro.factor("penalty", torch.tensor(-1.0))

    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match=r"the factors \['penalty'\], .* use insomnia=1"):
        asleep(weighed, guide_of(weight), X)


def test_a_guide_of_points_has_no_density_at_dreams():
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(weight * x, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u))

    with pytest.raises(ValueError, match=r"draws the points \['z'\], .* use insomnia=1"):
        asleep(model, guide, X)
