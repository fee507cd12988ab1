"""DIP-VAE I and II: their covariances in closed form, on data that go through a linear guide."""

from dataclasses import replace

import pyro
import pytest
import torch
from pyro import poutine

from pyro_vae.inference import DIPVAE_I, DIPVAE_II, TraceMeanField_ELBO
from pyro_vae.models import VAE, HierarchicalVAE, LinearGaussian
from pyro_vae.posteriors import FullNormal, InverseAutoregressiveFlow

BOTH = [DIPVAE_I, DIPVAE_II]
X = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def program():
    """z ~ N(V (x - b), D^2) with D = exp(D'), all of them of our choice."""
    pyro.set_rng_seed(0)
    each = LinearGaussian((3,), 2).double()
    with torch.no_grad():
        each.D.copy_(torch.tensor([-0.5, 0.3]))
    return each


def loss_of(estimator, each, x=X):
    pyro.set_rng_seed(1)
    return estimator.differentiable_loss(each.model, each.guide, x)


def penalty(each, x, lambda_od, lambda_d, *, noise):
    """By the formulas of the paper: C = V S V' for data of covariance S, plus D^2."""
    centred = x - x.mean(0)
    c = each.V @ (centred.mT @ centred / len(x)) @ each.V.mT
    c = c + (2 * each.D).exp().diag() if noise else c
    off = 2 * c[0, 1] ** 2
    return lambda_od * off + lambda_d * ((c[0, 0] - 1) ** 2 + (c[1, 1] - 1) ** 2)


@pytest.mark.parametrize(("kind", "noise"), [(DIPVAE_I, False), (DIPVAE_II, True)])
def test_the_penalty_is_that_of_the_covariance_in_closed_form(kind, noise):
    """It is paid by each datum; value and gradient."""
    each = program()
    for weights in ((3.0, 5.0), (3.0, 0.0), (0.0, 5.0)):
        found = loss_of(kind(lambda_od=weights[0], lambda_d=weights[1]), each)
        found = found - loss_of(TraceMeanField_ELBO(), each)
        expected = len(X) * penalty(each, X, *weights, noise=noise)
        torch.testing.assert_close(found, expected)
        slopes = [
            torch.autograd.grad(v, [each.V, each.D], allow_unused=True) for v in (found, expected)
        ]
        torch.testing.assert_close(slopes[0][0], slopes[1][0])
        if noise:
            torch.testing.assert_close(slopes[0][1], slopes[1][1])


def test_the_penalty_of_the_second_is_that_of_the_moments_of_draws():
    """C is the covariance of q(z): of so many draws of the guide within their error."""
    each = program()
    pyro.set_rng_seed(2)
    x = X.repeat(50_000, 1)
    z = poutine.trace(each.guide).get_trace(x).nodes["z"]["value"]
    c = torch.cov(z.mT)
    drawn = 3.0 * 2 * c[0, 1] ** 2 + 5.0 * (c.diagonal() - 1).square().sum()
    exact = penalty(each, X, 3.0, 5.0, noise=True)
    assert drawn.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.parametrize("kind", BOTH)
def test_without_weights_it_is_the_elbo_and_says_so(kind):
    each, estimator = program(), kind(lambda_od=0.0, lambda_d=0.0)
    torch.testing.assert_close(loss_of(estimator, each), loss_of(TraceMeanField_ELBO(), each))
    assert estimator.is_bound and not kind().is_bound
    assert not replace(estimator, beta=4.0).is_bound


def test_the_diagonal_weighs_ten_times_the_rest_in_the_first_and_as_much_in_the_second():
    assert DIPVAE_I().lambda_d == 10 * DIPVAE_I().lambda_od
    assert DIPVAE_II().lambda_d == DIPVAE_II().lambda_od


@pytest.mark.parametrize("kind", BOTH)
def test_particles_change_the_elbo_alone(kind):
    each = program()
    found = [
        loss_of(estimator(num_particles=400, vectorize_particles=True), each)
        for estimator in (kind, TraceMeanField_ELBO)
    ]
    one = loss_of(kind(), each) - loss_of(TraceMeanField_ELBO(), each)
    torch.testing.assert_close(found[0] - found[1], one)


@pytest.mark.parametrize("kind", BOTH)
def test_masked_data_do_not_count(kind):
    each, keep = program(), torch.tensor([True] * 4 + [False] * 3)
    masked = [poutine.mask(function, keep) for function in (each.model, each.guide)]
    penalties = []
    for functions, x in ((masked, X), ((each.model, each.guide), X[:4])):
        values = []
        for estimator in (kind(), TraceMeanField_ELBO()):
            pyro.set_rng_seed(1)
            values.append(estimator.loss(*functions, x))
        penalties.append(values[0] - values[1])
    assert penalties[0] == pytest.approx(penalties[1])


@pytest.mark.parametrize("kind", BOTH)
def test_several_latents_are_refused(kind):
    each = HierarchicalVAE((8,), (3, 2), hidden=(5,))
    with pytest.raises(ValueError, match=r"covariance of one latent, .* \['z_2', 'z_1'\]; use MMD"):
        kind().loss(each.model, each.guide, torch.zeros(4, 8))


def test_numbers_that_depend_on_each_other_are_for_the_first_alone():
    each = VAE((8,), 2, posterior=FullNormal(2))
    with pytest.raises(ValueError, match="independent given x, .* MultivariateNormal; use DIP"):
        DIPVAE_II().loss(each.model, each.guide, torch.zeros(4, 8))
    assert DIPVAE_I().loss(each.model, each.guide, torch.zeros(4, 8)) > 0


@pytest.mark.parametrize("kind", BOTH)
def test_a_posterior_without_a_mean_is_refused(kind):
    each = VAE((8,), 2, posterior=InverseAutoregressiveFlow(2))
    with pytest.raises(ValueError, match=r"needs the mean of q\(z \| x\), but .* has no formula"):
        kind().loss(each.model, each.guide, torch.zeros(4, 8))


@pytest.mark.parametrize("kind", BOTH)
def test_a_batch_of_one_datum_is_refused(kind):
    each = program()
    with pytest.raises(ValueError, match="this batch has one datum: give it two or more"):
        kind().loss(each.model, each.guide, X[:1])
