"""The VAE with latent weights: with given z it is Bayesian linear regression, solved exactly."""

import math

import pytest
import torch
from torch import nn

from pyro_vae import likelihoods, networks, posteriors, priors
from pyro_vae.inference import (
    IWAE,
    STL,
    Trace_ELBO,
    TraceMeanField_ELBO,
    decode,
    evaluate,
    log_likelihood,
)
from pyro_vae.inference.terms import collect
from pyro_vae.models import BayesianVAE

from .twins import captured_like_eager

X_SHAPE = (1, 4, 4)
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
# Two columns of z and the constant of the bias, orthogonal, so that the posterior is diagonal.
Z = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
DESIGN = torch.cat([Z, torch.ones(4, 1)], 1)
SIGMA, S = 0.6, 1.7  # standard deviations of x and of theta


class Given(nn.Module):
    """An encoder that knows z."""

    def forward(self, x):
        return Z[: len(x)]


def point(x_shape, latent_dim, *, num_data, **parts):
    """A program whose z is the encoder's, so that theta is all there is to infer."""
    prior, posterior = priors.Flat(latent_dim), posteriors.Delta(latent_dim)
    likelihood = likelihoods.Normal(x_shape)
    program = BayesianVAE(
        x_shape,
        latent_dim,
        num_data=num_data,
        prior=prior,
        posterior=posterior,
        likelihood=likelihood,
        **parts,
    ).double()
    nn.init.constant_(likelihood.log_scale, math.log(SIGMA))
    return program


def regression(widened=1.0):
    """x = W z + b + noise, the guide at theta's posterior, or wider; and log p(X | Z)."""
    program = point(
        (3,), 2, num_data=len(X), weight_scale=S, encoder=Given(), hidden=(), init_scale=1.0
    )
    precision = 1 / S**2 + len(X) / SIGMA**2
    loc = DESIGN.mT @ X / SIGMA**2 / precision  # (3 columns, 3 outputs)
    (layer,) = program.decoder.layers
    with torch.no_grad():
        layer.weight.copy_(loc[:2].mT)
        layer.bias.copy_(loc[2])
        program.log_scale.fill_(math.log(widened) - math.log(precision) / 2)
    covariance = SIGMA**2 * torch.eye(len(X)).double() + S**2 * DESIGN @ DESIGN.mT
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(X)).double(), covariance)
    return program, normal.log_prob(X.mT).sum().item()


@pytest.mark.parametrize(
    "loss", [Trace_ELBO(), STL(), Trace_ELBO(num_particles=3, vectorize_particles=True)], ids=repr
)
def test_the_bound_at_the_exact_posterior_is_the_evidence_of_the_regression(loss):
    program, evidence = regression()
    assert loss.loss(program.model, program.guide, X) == pytest.approx(-evidence, rel=1e-12)


def test_elsewhere_the_bound_is_the_evidence_less_the_kl():
    program, evidence = regression(widened=1.5)
    t = collect(program.model, program.guide, (X,), {}, num_particles=4000)
    theta = t.global_latents["theta"]
    bounds = t.log_px.sum(1) + (theta.log_p - theta.log_q)[:, 0]
    gap = 9 * (1.5**2 / 2 - 0.5 - math.log(1.5))  # 9 weights, each 1.5 times as wide
    error = bounds.std().item() / math.sqrt(len(bounds))
    assert error < gap / 40
    assert bounds.mean().item() == pytest.approx(evidence - gap, abs=4 * error)


def test_the_losses_of_the_minibatches_have_the_mean_of_the_loss_of_all():
    program = point((3,), 2, num_data=12, hidden=(5,))
    x = torch.randn(12, 3, dtype=torch.float64)
    losses = {}
    for size in (12, 4, 2):
        parts = []
        for batch in x.split(size):
            torch.manual_seed(0)  # for one theta
            parts.append(Trace_ELBO().loss(program.model, program.guide, batch))
        losses[size] = sum(parts) / len(parts)
    assert losses[4] == pytest.approx(losses[12], rel=1e-12)
    assert losses[2] == pytest.approx(losses[12], rel=1e-12)


def test_each_datum_held_out_or_not_pays_its_part_of_the_weights_rate():
    program = point((3,), 2, num_data=50, hidden=(5,))
    scale = torch.linspace(0.1, 0.5, len(program.log_scale)).double()
    program.log_scale.data = scale.log()
    loc = nn.utils.parameters_to_vector(program.decoder.parameters())
    kl = (-scale.log() + (scale**2 + loc**2 - 1) / 2).sum().item()
    found = evaluate(program, torch.randn(7, 3).double(), num_particles=1000).rate
    # log q - log p varies by sum (scale^2 - 1)^2 / 2 + (scale loc)^2: at most some 5 for 33.
    assert (found - kl / 50).abs().max() < 4 * 6 / math.sqrt(1000) / 50
    whole = evaluate(program, torch.randn(300, 3).double(), num_particles=1000, batch_size=300).rate
    assert (whole - kl / 50).abs().max() < 4 * 6 / math.sqrt(1000) / 50  # more data than num_data


def test_particles_in_a_plate_decode_with_a_draw_of_the_weights_each():
    program = BayesianVAE((3,), 2, num_data=12, hidden=(5,), init_scale=0.3)
    x = (torch.rand(6, 3) < 0.5).float()
    t = collect(program.model, program.guide, (x,), {}, num_particles=4)
    for k in range(4):
        latents = {"theta": t.global_latents["theta"].z[k, 0], "z": t.latents["z"].z[k]}
        p = torch.distributions.Bernoulli(decode(program, latents, 6, (3,)))
        torch.testing.assert_close(t.log_px[k], p.log_prob(x).sum(1))


@pytest.mark.parametrize(
    "loss", [Trace_ELBO(), TraceMeanField_ELBO(), STL()], ids=lambda loss: type(loss).__name__
)
def test_a_captured_step_is_the_eager_one_bit_for_bit(loss):
    captured_like_eager(BayesianVAE(X_SHAPE, 3, num_data=64, hidden=(8,)), loss)


def test_the_gradient_reaches_every_parameter_in_float64():
    program = BayesianVAE(X_SHAPE, 3, num_data=64, hidden=(8,)).double()
    x = (torch.rand(6, *X_SHAPE) < 0.5).double()
    Trace_ELBO().differentiable_loss(program.model, program.guide, x).backward()
    assert all(p.grad.abs().sum() > 0 for p in program.parameters())


def test_bounds_and_likelihoods_of_single_data_are_refused():
    program, _ = regression()
    with pytest.raises(ValueError, match="'theta' stand outside the data plate.*use Trace_ELBO"):
        IWAE(3).loss(program.model, program.guide, X)
    with pytest.raises(ValueError, match=r"\['theta'\] stand outside.*evaluate the bound"):
        log_likelihood(program, X, 3)


@pytest.mark.parametrize(
    "parts, sentence",
    [
        ({"num_data": 0}, "num_data must be at least 1, but is 0"),
        ({"weight_scale": 0.0}, "weight_scale must be positive and finite, but is 0.0"),
        ({"init_scale": math.inf}, "init_scale must be positive and finite, but is inf"),
        ({"prior": priors.StandardNormal(4)}, r"prior's latent_dim is \(4,\).*needs \(3,\)"),
        ({"decoder": networks.MLP((3,), (16,))}, r"out_shape is \(16,\).*\(1, 4, 4\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        BayesianVAE(X_SHAPE, 3, **{"num_data": 64} | parts)
