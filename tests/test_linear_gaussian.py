"""The linear-Gaussian program's closed forms, against other ways to the same numbers."""

import math

import pytest
import torch

from pyro_vae.inference import IWAE, Trace_ELBO, TraceMeanField_ELBO, evaluate
from pyro_vae.likelihoods import Normal
from pyro_vae.models import VAE, LinearGaussian


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


def eigenvalues_of(x):
    return torch.linalg.eigvalsh(x.flatten(1).mT.cov(correction=0)).flip(0)


@pytest.mark.parametrize("collapsed", [0, 1, 2, 3])
def test_the_columns_with_an_eigenvalue_below_a_given_sigma_collapse(x, collapsed):
    """Lucas et al., 2019: of 4 latents, those whose eigenvalue lies below sigma^2."""
    eigenvalues = eigenvalues_of(x)
    sigma = eigenvalues[3 - collapsed : 5 - collapsed].mean().sqrt().item()  # between two of them
    program = LinearGaussian((1, 2, 3), 4).double()
    program.maximum_likelihood(x, sigma=sigma)
    kl = kl_of_each_latent(program, x)
    assert (kl < 1e-12).sum() == (program.W.norm(dim=0) == 0).sum() == collapsed
    evidence = program.log_evidence(x).sum().item()
    elbo = -Trace_ELBO().loss(program.model, program.guide, x)
    assert elbo == pytest.approx(evidence, abs=1e-6 * len(x))


def kl_of_each_latent(program, x):
    """KL(q(z_j | x) || N(0, 1)) in closed form, averaged over the data."""
    loc, scale = (x.flatten(1) - program.b) @ program.V.mT, program.D.exp()
    return ((loc**2 + scale**2 - 1) / 2 - program.D).mean(0)


@pytest.mark.parametrize("collapsed", [0, 2])
def test_ascent_of_the_evidence_from_random_weights_collapses_as_many(x, collapsed):
    """The optimum found without its closed form has the same height, and the same rank of W."""
    eigenvalues = eigenvalues_of(x)
    sigma = eigenvalues[3 - collapsed : 5 - collapsed].mean().sqrt().item()
    optimum, program = LinearGaussian((1, 2, 3), 4).double(), LinearGaussian((1, 2, 3), 4).double()
    optimum.maximum_likelihood(x, sigma=sigma)
    with torch.no_grad():
        program.b.copy_(optimum.b)
        program.log_sigma.fill_(math.log(sigma))
    lbfgs = torch.optim.LBFGS(
        [program.W], max_iter=3000, tolerance_grad=1e-12, tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss():
        lbfgs.zero_grad()
        value = -program.log_evidence(x).mean()
        value.backward()
        return value

    lbfgs.step(loss)
    best = optimum.log_evidence(x).mean().item()
    assert program.log_evidence(x).mean().item() == pytest.approx(best, abs=1e-6)
    assert (torch.linalg.svdvals(program.W) < 1e-2).sum() == collapsed


def test_a_learned_sigma_lets_no_column_collapse(x):
    program = fitted(x, latent_dim=4)
    assert kl_of_each_latent(program, x).min() > 0.1


@pytest.mark.parametrize("sigma", [None, 1.0])
def test_an_affine_vae_with_the_fits_weights_has_the_evidence_for_its_elbo(x, sigma):
    exact = LinearGaussian((1, 2, 3), 4).double()
    exact.maximum_likelihood(x, sigma=sigma)
    vae = VAE((1, 2, 3), 4, likelihood=Normal((1, 2, 3)), hidden=()).double()
    (encoder,), (decoder,) = vae.encoder.layers, vae.decoder.layers
    with torch.no_grad():
        encoder.weight.copy_(torch.cat([exact.V, torch.zeros_like(exact.V)]))
        encoder.bias.copy_(torch.cat([-exact.V @ exact.b, exact.D]))
        decoder.weight.copy_(exact.W)
        decoder.bias.copy_(exact.b)
        vae.likelihood.log_scale.copy_(exact.log_sigma)
    torch.testing.assert_close(evaluate(vae, x).bound, exact.log_evidence(x), atol=1e-6, rtol=0)
    q = vae.posterior(vae.encoder(x)).base_dist
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean(0)
    collapsed = 0 if sigma is None else (eigenvalues_of(x)[:4] <= sigma**2).sum()
    assert (kl < 1e-12).sum() == collapsed


@pytest.mark.parametrize("shape", [(), (7,), (1, 8, 8)])
def test_it_is_built_from_any_shape(shape):
    program = LinearGaussian(shape)
    x = torch.randn(3, *shape)
    assert program.model(x).shape == x.shape
    assert program.log_evidence(x).shape == (3,)


def test_a_fit_of_too_many_latents_is_refused(x):
    with pytest.raises(ValueError, match="needs more data and more dimensions than that"):
        fitted(x, latent_dim=6)


def test_a_noise_without_scale_is_refused(x):
    with pytest.raises(ValueError, match="sigma must be positive and finite, but is 0.0"):
        LinearGaussian((1, 2, 3), 2).double().maximum_likelihood(x, sigma=0.0)


def test_no_latents_are_refused():
    with pytest.raises(ValueError, match="latent_dim must be at least 1, but is 0"):
        LinearGaussian((2,), 0)
