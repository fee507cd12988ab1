"""Every prior, posterior, likelihood, network and model: one contract each, by being listed."""

import copy
import inspect

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch import nn

from pyro_vae import likelihoods, models, networks, posteriors, priors
from pyro_vae.arguments import takes_labels
from pyro_vae.inference import (
    SVI,
    Trace_ELBO,
    decode,
    encode,
    evaluate,
    reconstruct,
    sample,
)
from pyro_vae.inference.checking import check
from pyro_vae.inference.terms import collect

from .code_parts import CODE_POSTERIORS, CODE_PRIORS, names_without_codes, of_codes
from .token_parts import TOKEN_LIKELIHOODS, of_tokens
from .twins import captured_like_eager

X_SHAPE = (1, 4, 4)
LATENT_DIM = 3

PRIORS = [getattr(priors, name) for name in names_without_codes(priors)]
POSTERIORS = [getattr(posteriors, name) for name in names_without_codes(posteriors)]
LIKELIHOODS = [
    part
    for part in (getattr(likelihoods, name) for name in likelihoods.__all__)
    if part not in TOKEN_LIKELIHOODS
]
MODELS = [getattr(models, name) for name in models.__all__]


def prior_of(prior):
    """A prior built from its size alone; one that is made of posteriors is shown some."""
    if "x_shape" not in inspect.signature(prior).parameters:
        return prior(LATENT_DIM)
    found = prior(LATENT_DIM, x_shape=X_SHAPE, components=5)
    found.attach(networks.MLP(X_SHAPE, (2, LATENT_DIM)), posteriors.DiagonalNormal(LATENT_DIM))
    return found


def support_of(fn):
    """The set of values of a distribution, as text: constraints do not compare."""
    return str(fn.support)


def fits(prior, posterior):
    """Whether the values of the one are of the other, with densities of one kind."""
    if prior is priors.VampPrior:  # a mixture of posteriors, which needs their density
        return posterior is not posteriors.Delta
    q = posterior(LATENT_DIM)
    return support_of(prior(LATENT_DIM)()) == support_of(q(torch.zeros(2, *q.param_shape)))


def name_of(part):
    return part.__name__


def data_of(likelihood, num=6):
    """Data that the likelihood can produce."""
    h = torch.zeros(num, *likelihood.param_shape)
    return likelihood(h).sample()


@pytest.mark.parametrize("prior", PRIORS, ids=name_of)
def test_a_prior_is_a_distribution_over_one_latent(prior):
    p = prior_of(prior)()
    assert p.batch_shape == () and p.event_shape == (LATENT_DIM,)
    z = torch.zeros(5, LATENT_DIM) if prior is priors.Flat else p.sample((5,))
    assert p.log_prob(z).shape == (5,)


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


def binary(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()


# For what takes many steps; elsewhere programs are what they are by default.
SMALL = {
    models.KLAutoencoder: {"channels": (4, 8)},
    models.LatentDiffusion: {"latent_dim": 3, "prior": priors.DiffusionPrior(3, steps=3)},
    models.VQVAE: {"channels": (8, 8)},
}


def program_of(model, **options):
    """A program, and the arguments of its model and guide for six data."""
    parameters = inspect.signature(model).parameters
    known = {"num_data": 6, "num_classes": 3}
    asked = options | {name: value for name, value in known.items() if name in parameters}
    x_shape = (4, 3) if model is models.DeepMarkovModel else X_SHAPE
    if model is models.Refit:
        program = model(models.VAE(x_shape, 3, hidden=(8,)), prior=priors.GaussianMixture(3))
    else:
        small = {"channels": 4, "groups": (1, 1)} if model is models.NVAE else {}
        program = model(x_shape, **asked, **small)
    y = (torch.arange(6) % 3,) if takes_labels(program) else ()
    if model is models.LinearGaussian:
        return program, (torch.randn(6, *x_shape), *y)
    return program, (binary(6, *x_shape), *y)


ENUMERATING = (models.SemiSupervisedVAE, models.GaussianMixtureVAE)


@pytest.mark.parametrize("model", MODELS, ids=name_of)
class TestModels:
    def test_passes_its_preflight(self, model):
        program, (x, *y) = program_of(model)
        names = {site.name for site in check(program, x, y=y[0] if y else None).sites}
        latents = any(name.startswith("z") for name in names)
        assert "x" in names and latents == (model is not models.AutoregressiveModel)

    def test_the_gradient_reaches_every_parameter_in_float64(self, model):
        program, (x, *y) = program_of(model)
        program, x = program.double(), x.double()
        loss = Trace_ELBO().differentiable_loss(program.model, program.guide, x, *y)
        assert loss.dtype == torch.float64 and loss.isfinite()
        loss.backward()
        assert all(p.grad is not None for p in program.parameters() if p.requires_grad)

    def test_takes_a_dimension_of_particles(self, model):
        program, args = program_of(model)
        terms = collect(program.model, program.guide, args, {}, num_particles=4)
        assert terms.log_w.shape == (4, len(args[0]))

    def test_loses_nothing_when_saved_and_loaded(self, model):
        program, args = program_of(model)
        twin, _ = program_of(model)
        twin.load_state_dict(copy.deepcopy(program.state_dict()))
        losses = []
        for each in (program, twin):
            pyro.set_rng_seed(0)
            losses.append(Trace_ELBO().loss(each.model, each.guide, *args))
        assert losses[0] == losses[1]

    def test_samples_reconstructs_encodes_and_decodes_in_the_datas_shape(self, model):
        program, (x, *y) = program_of(model)
        y = y[0] if y else None
        if model is models.Autoencoder:
            with pytest.raises(ValueError, match="no prior to sample from"):
                sample(program, 6, x.shape[1:])
        else:
            assert sample(program, 6, x.shape[1:], y=y).shape == x.shape
            assert sample(program, 6, x.shape[1:], y=y, mean=False).shape == x.shape
        assert reconstruct(program, x, y).shape == x.shape
        latents = encode(program, x, y)
        assert decode(program, latents, len(x), x.shape[1:], y=y).shape == x.shape

    def test_is_evaluated(self, model):
        program, args = program_of(model)
        assert evaluate(program, *args).bound.shape == (len(args[0]),)

    def test_trains(self, model):
        program, args = program_of(model, **copy.deepcopy(SMALL.get(model, {})))
        loss = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1) if model in ENUMERATING else None
        svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}), loss)
        losses = [svi.step(*args).item() for _ in range(60)]
        assert sum(losses[-10:]) < sum(losses[:10])


def vae(prior=priors.StandardNormal, posterior=None, likelihood=likelihoods.Bernoulli):
    """A VAE of three classes, and data that it can produce; the posterior is one that fits."""
    posterior = posterior or next(q for q in POSTERIORS if fits(prior, q))
    if prior is priors.VampPrior:
        prior_part = prior(LATENT_DIM, x_shape=X_SHAPE, components=5)
    else:
        prior_part = prior(LATENT_DIM)
    program = models.VAE(
        X_SHAPE,
        LATENT_DIM,
        prior=prior_part,
        posterior=posterior(LATENT_DIM),
        likelihood=likelihood(X_SHAPE),
        hidden=(8,),
    )
    return program, data_of(program.likelihood)


@pytest.mark.parametrize("prior", PRIORS, ids=name_of)
@pytest.mark.parametrize("posterior", POSTERIORS, ids=name_of)
def test_a_vae_takes_any_prior_and_posterior_of_one_support(prior, posterior):
    if not fits(prior, posterior):
        pytest.skip("their values differ")
    check(*vae(prior, posterior))


@pytest.mark.parametrize("prior", PRIORS, ids=name_of)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=name_of)
def test_a_vae_takes_any_prior_and_likelihood(prior, likelihood):
    check(*vae(prior, likelihood=likelihood))


@pytest.mark.parametrize("posterior", POSTERIORS, ids=name_of)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=name_of)
def test_a_vae_takes_any_posterior_and_likelihood(posterior, likelihood):
    prior = next(p for p in PRIORS if fits(p, posterior))
    check(*vae(prior, posterior, likelihood))


@pytest.mark.parametrize(
    "part",
    [
        *PRIORS,
        *POSTERIORS,
        *LIKELIHOODS,
        *TOKEN_LIKELIHOODS,
        *CODE_PRIORS,
        *CODE_POSTERIORS,
    ],
    ids=name_of,
)
class TestParts:
    def build(self, part):
        program = of_codes(part, X_SHAPE) or of_tokens(part)
        if program is not None:
            return program, data_of(program.likelihood)
        if part in PRIORS:
            return vae(part)
        if part in POSTERIORS:
            return vae(next(p for p in PRIORS if fits(p, part)), part)
        return vae(likelihood=part)

    def test_the_gradient_reaches_every_parameter_in_float64(self, part):
        program, x = self.build(part)
        program, x = program.double(), x.double() if x.is_floating_point() else x
        loss = Trace_ELBO().differentiable_loss(program.model, program.guide, x)
        assert loss.dtype == torch.float64 and loss.isfinite()
        loss.backward()
        assert all(p.grad is not None for p in program.parameters() if p.requires_grad)

    def test_takes_a_dimension_of_particles(self, part):
        program, x = self.build(part)
        terms = collect(program.model, program.guide, (x,), {}, num_particles=4)
        assert terms.log_w.shape == (4, len(x)) and terms.log_w.isfinite().all()

    def test_loses_nothing_when_saved_and_loaded(self, part):
        program, x = self.build(part)
        twin, _ = self.build(part)
        twin.load_state_dict(copy.deepcopy(program.state_dict()))
        losses = []
        for each in (program.eval(), twin.eval()):
            pyro.set_rng_seed(0)
            losses.append(Trace_ELBO().loss(each.model, each.guide, x))
        assert losses[0] == losses[1]

    def test_is_captured_bit_for_bit(self, part):
        program, x = self.build(part)
        captured_like_eager(program, Trace_ELBO(), steps=5, batches=[x])

    def test_samples_have_the_shape_of_the_data(self, part):
        program, x = self.build(part)
        if part is priors.Flat:
            with pytest.raises(ValueError, match="no prior to sample from"):
                sample(program, 5, X_SHAPE)
            return
        x_shape = x.shape[1:]
        assert sample(program, 5, x_shape, dtype=x.dtype).shape == (5, *x_shape)
        assert sample(program, 5, x_shape, mean=False, dtype=x.dtype).shape == (5, *x_shape)


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


@pytest.mark.parametrize(
    "part, sentence",
    [
        ({"prior": priors.StandardNormal}, r"prior of this VAE is the class StandardNormal"),
        ({"posterior": posteriors.FullNormal}, r"posterior of this VAE is the class FullNormal"),
        ({"likelihood": likelihoods.Normal}, r"likelihood of this VAE is the class Normal"),
        ({"prior": dist.Normal(0.0, 1.0)}, "prior of this VAE is a distribution; give a module"),
        ({"posterior": nn.Identity()}, r"an? Identity without latent_dim; a posterior says its"),
        ({"likelihood": nn.Identity()}, r"an? Identity without x_shape; a likelihood says its"),
    ],
)
def test_a_part_that_is_a_class_or_says_no_shape_is_refused(part, sentence):
    with pytest.raises(TypeError, match=sentence):
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
