"""Every prior, posterior, likelihood, network and model: one contract each, by being listed."""

import copy

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from scipy import integrate, stats
from torch import nn

from pyro_vae import likelihoods, models, networks, posteriors, priors
from pyro_vae.inference import SVI, Trace_ELBO
from pyro_vae.inference.estimator import collect
from pyro_vae.inference.predictive import decode, encode, reconstruct, sample
from pyro_vae.inference.preflight import check

X_SHAPE = (1, 4, 4)
LATENT_DIM = 3

PRIORS = [getattr(priors, name) for name in priors.__all__]
POSTERIORS = [getattr(posteriors, name) for name in posteriors.__all__]
LIKELIHOODS = [getattr(likelihoods, name) for name in likelihoods.__all__]
MODELS = [getattr(models, name) for name in models.__all__]


def name_of(part):
    return part.__name__


def data_of(likelihood, num=6):
    """Data that the likelihood can produce."""
    h = torch.zeros(num, *likelihood.param_shape)
    return likelihood(h).sample()


@pytest.mark.parametrize("prior", PRIORS, ids=name_of)
def test_a_prior_is_a_distribution_over_one_latent(prior):
    p = prior(LATENT_DIM)()
    assert p.batch_shape == () and p.event_shape == (LATENT_DIM,)
    assert p.log_prob(p.rsample((5,))).shape == (5,)


@pytest.mark.parametrize("posterior", POSTERIORS, ids=name_of)
def test_a_posterior_keeps_every_leading_dimension(posterior):
    part = posterior(LATENT_DIM)
    q = part(torch.zeros(7, 5, *part.param_shape))
    assert q.batch_shape == (7, 5) and q.event_shape == (LATENT_DIM,)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=name_of)
def test_a_likelihood_keeps_every_leading_dimension_and_the_datas_shape(likelihood):
    part = likelihood(X_SHAPE)
    p = part(torch.zeros(7, 5, *part.param_shape))
    assert p.batch_shape == (7, 5) and p.event_shape == X_SHAPE
    assert p.log_prob(p.sample()).shape == (7, 5)
    assert p.mean.shape == (7, 5, *X_SHAPE)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=name_of)
@pytest.mark.parametrize("h", [-1.5, 0.3, 2.0])
def test_a_likelihood_sums_or_integrates_to_one(likelihood, h):
    part = likelihood((1,))
    p = part(torch.full((1,), h, dtype=torch.float64).expand(part.param_shape)).base_dist

    def density(x):
        return p.log_prob(torch.tensor([x], dtype=torch.float64)).exp().item()

    if likelihood is likelihoods.Bernoulli:
        total = density(0.0) + density(1.0)
    elif likelihood is likelihoods.Binomial:
        total = sum(density(k / 16) for k in range(17))
    else:
        low, high = (0, 1) if likelihood is likelihoods.ContinuousBernoulli else (-20, 20)
        total = integrate.quad(density, low, high)[0]
    assert total == pytest.approx(1, abs=1e-6)


def test_binomial_levels_have_scipys_probabilities_mean_and_variance():
    h = torch.tensor([[-0.7]], dtype=torch.float64)
    p = likelihoods.Binomial((1,), total_count=5)(h)
    levels = torch.arange(6, dtype=torch.float64)[:, None, None] / 5
    exact = stats.binom(5, torch.sigmoid(h).item())
    np.testing.assert_allclose(p.log_prob(levels)[:, 0], exact.logpmf(range(6)), rtol=1e-10)
    assert p.mean.item() == pytest.approx(exact.mean() / 5)
    assert p.variance.item() == pytest.approx(exact.var() / 25)
    draws = p.sample((4000,))
    assert draws.mean().item() == pytest.approx(
        exact.mean() / 5, abs=4 * exact.std() / 5 / 4000**0.5
    )
    with pytest.raises(ValueError, match="support"):
        p.log_prob(levels + 0.01)


def test_an_mlp_treats_every_leading_dimension_alike():
    net = networks.MLP((2, 3), (4,), hidden=(5, 6))
    x = torch.randn(7, 8, 2, 3)
    torch.testing.assert_close(net(x)[2, 3], net(x[2, 3]))
    assert sum(isinstance(layer, nn.Linear) for layer in net.layers) == 3
    with pytest.raises(ValueError, match="takes"):
        net(torch.zeros(7, 3, 2))
    with pytest.raises(ValueError, match="at least one unit"):
        networks.MLP((2,), (0,))


@pytest.mark.parametrize("model", MODELS, ids=name_of)
class TestModels:
    def build(self, model):
        program = model(X_SHAPE)
        return program, sample(program, 6, X_SHAPE, mean=False)

    def test_passes_its_preflight(self, model):
        program, x = self.build(model)
        assert {site.name for site in check(program, x).sites} >= {"z", "x"}

    def test_the_gradient_reaches_every_parameter_in_float64(self, model):
        program, x = self.build(model)
        program, x = program.double(), x.double()
        loss = Trace_ELBO().differentiable_loss(program.model, program.guide, x)
        assert loss.dtype == torch.float64 and loss.isfinite()
        loss.backward()
        assert all(p.grad is not None for p in program.parameters() if p.requires_grad)

    def test_takes_a_dimension_of_particles(self, model):
        program, x = self.build(model)
        terms = collect(program.model, program.guide, (x,), {}, num_particles=4)
        assert terms.log_w.shape == (4, len(x))

    def test_loses_nothing_when_saved_and_loaded(self, model):
        program, x = self.build(model)
        twin = model(X_SHAPE)
        twin.load_state_dict(copy.deepcopy(program.state_dict()))
        losses = []
        for each in (program, twin):
            pyro.set_rng_seed(0)
            losses.append(Trace_ELBO().loss(each.model, each.guide, x))
        assert losses[0] == losses[1]

    def test_samples_reconstructs_encodes_and_decodes_in_the_datas_shape(self, model):
        program, x = self.build(model)
        assert sample(program, 5, X_SHAPE).shape == (5, *X_SHAPE)
        assert sample(program, 5, X_SHAPE, mean=False).shape == (5, *X_SHAPE)
        assert reconstruct(program, x).shape == x.shape
        latents = encode(program, x)
        assert decode(program, latents, len(x), X_SHAPE).shape == x.shape

    def test_trains(self, model):
        program, x = self.build(model)
        svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}))
        losses = [svi.step(x).item() for _ in range(60)]
        assert sum(losses[-10:]) < sum(losses[:10])


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=name_of)
@pytest.mark.parametrize("posterior", POSTERIORS, ids=name_of)
@pytest.mark.parametrize("prior", PRIORS, ids=name_of)
def test_a_vae_takes_any_prior_posterior_and_likelihood(prior, posterior, likelihood):
    program = models.VAE(
        X_SHAPE,
        LATENT_DIM,
        prior=prior(LATENT_DIM),
        posterior=posterior(LATENT_DIM),
        likelihood=likelihood(X_SHAPE),
        hidden=(8,),
    )
    check(program, data_of(program.likelihood))


@pytest.mark.parametrize(
    "part, sentence",
    [
        ({"prior": priors.StandardNormal(4)}, r"prior's latent_dim is \(4,\).*needs \(3,\)"),
        ({"posterior": posteriors.DiagonalNormal(4)}, r"latent_dim is \(4,\).*needs \(3,\)"),
        ({"likelihood": likelihoods.Normal((1, 5, 5))}, r"x_shape is \(1, 5, 5\).*\(1, 4, 4\)"),
        ({"encoder": networks.MLP((9,), (2, 3))}, r"encoder's in_shape is \(9,\).*\(1, 4, 4\)"),
        ({"decoder": networks.MLP((3,), (16,))}, r"decoder's out_shape is \(16,\).*\(1, 4, 4\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_both_shapes(part, sentence):
    with pytest.raises(ValueError, match=sentence):
        models.VAE(X_SHAPE, LATENT_DIM, **part)


def test_a_vae_is_the_density_of_the_paper():
    """log p(x, z) and log q(z | x) written out by hand."""
    program = models.VAE((2,), latent_dim=1).double()
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    guide = poutine.trace(program.guide).get_trace(x)
    model = poutine.trace(poutine.replay(program.model, guide)).get_trace(x)
    z = guide.nodes["z"]["value"]
    loc, log_scale = program.encoder(x)[0]
    log_q = stats.norm(loc.item(), log_scale.exp().item()).logpdf(z.item())
    p = torch.sigmoid(program.decoder(z))[0]
    log_p = stats.norm.logpdf(z.item()) + np.log(p[0].item()) + np.log1p(-p[1].item())
    assert guide.log_prob_sum().item() == pytest.approx(log_q)
    assert model.log_prob_sum().item() == pytest.approx(log_p)
