"""The linear-Gaussian program's closed forms, against other ways to the same numbers."""

import math

import pytest
import torch

from pyro_vae.inference import IWAE, Trace_ELBO, TraceMeanField_ELBO
from pyro_vae.models import LinearGaussian


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(3)
    mix = torch.randn(6, 6, generator=generator).double()
    return (torch.randn(200, 6, generator=generator).double() @ mix + 1.0).unflatten(1, (1, 2, 3))


def fitted(x, latent_dim=2, **kwargs):
    program = LinearGaussian(x.shape[1:], latent_dim, **kwargs).double()
    program.maximum_likelihood(x)
    return program


def test_the_evidence_is_that_of_the_marginal_normal(x):
    program = LinearGaussian((1, 2, 3), 2).double()
    covariance = program.W @ program.W.mT + (2 * program.log_sigma).exp() * torch.eye(6)
    normal = torch.distributions.MultivariateNormal(program.b, covariance)
    torch.testing.assert_close(program.log_evidence(x), normal.log_prob(x.flatten(1)))


def test_the_posterior_is_joint_over_evidence(x):
    program = LinearGaussian((1, 2, 3), 2).double()
    posterior = program.posterior(x)
    z = posterior.sample()
    prior = torch.distributions.Normal(torch.zeros(2).double(), 1.0)
    likelihood = torch.distributions.Normal(z @ program.W.mT + program.b, program.log_sigma.exp())
    log_joint = prior.log_prob(z).sum(-1) + likelihood.log_prob(x.flatten(1)).sum(-1)
    torch.testing.assert_close(log_joint - posterior.log_prob(z), program.log_evidence(x))


def test_the_fit_has_the_likelihood_of_the_eigenvalues(x):
    """Tipping and Bishop, 1999: log p depends on the covariance's eigenvalues alone."""
    program = fitted(x)
    eigenvalues = torch.linalg.eigvalsh(x.flatten(1).mT.cov(correction=0)).flip(0)
    noise = eigenvalues[2:].mean()
    logs = 6 * math.log(2 * math.pi) + eigenvalues[:2].log().sum() + 4 * noise.log() + 6
    assert program.log_evidence(x).mean().item() == pytest.approx(-logs.item() / 2, rel=1e-10)


def test_no_direction_leads_up_from_the_fit(x):
    program = fitted(x)
    loss = -program.log_evidence(x).mean()
    gradients = torch.autograd.grad(loss, [program.W, program.b, program.log_sigma])
    assert all(gradient.abs().max() < 1e-9 for gradient in gradients)


def test_the_elbo_at_the_fit_is_the_evidence(x):
    program = fitted(x)
    evidence = program.log_evidence(x).sum().item()
    for estimator in (Trace_ELBO(), IWAE(3)):
        loss = estimator.loss(program.model, program.guide, x)
        assert loss == pytest.approx(-evidence, rel=1e-12)


def test_a_full_covariance_reaches_every_posterior_and_a_diagonal_one_its_best(x):
    full = LinearGaussian((1, 2, 3), 2, full_covariance=True).double()
    full.optimize_guide()
    evidence = full.log_evidence(x).sum().item()
    assert Trace_ELBO().loss(full.model, full.guide, x) == pytest.approx(-evidence, rel=1e-12)
    diagonal = LinearGaussian((1, 2, 3), 2).double()
    diagonal.optimize_guide()
    gap = -torch.linalg.slogdet(diagonal.posterior(x[:1]).precision_matrix)[1] / 2
    gap = diagonal.D.exp().log().sum() - gap  # KL of the best diagonal guide, less what cancels
    torch.manual_seed(0)
    elbo = TraceMeanField_ELBO(500, vectorize_particles=True, max_plate_nesting=1)
    loss = elbo.loss(diagonal.model, diagonal.guide, x)
    expected = -diagonal.log_evidence(x).sum().item() - len(x) * gap.item()
    assert loss == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("shape", [(), (7,), (1, 8, 8)])
def test_it_is_built_from_any_shape(shape):
    program = LinearGaussian(shape)
    x = torch.randn(3, *shape)
    assert program.model(x).shape == x.shape
    assert program.log_evidence(x).shape == (3,)


def test_a_fit_of_too_many_latents_is_refused(x):
    with pytest.raises(ValueError, match="needs more data and more dimensions than that"):
        fitted(x, latent_dim=6)


def test_no_latents_are_refused():
    with pytest.raises(ValueError, match="latent_dim must be at least 1, but is 0"):
        LinearGaussian((2,), 0)
