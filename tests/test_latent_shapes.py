"""Latents of a shape: a program of (2, 3, 3) is that of 18 numbers with the same weights."""

import copy
import inspect
import math
from functools import partial

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.distributions import kl_divergence

from pyro_vae import check, inference, models, networks, posteriors, priors
from pyro_vae.arguments import takes_labels
from pyro_vae.inference import (
    SVI,
    Compile,
    Trace_ELBO,
    TraceMeanField_ELBO,
    decode,
    encode,
    evaluate,
    log_likelihood,
    reconstruct,
    sample,
)

from .code_parts import names_without_codes
from .lone_estimators import lone_estimators

SHAPE = (2, 3, 3)
SIZE = math.prod(SHAPE)
X_SHAPE = (1, 4, 4)
X = (torch.rand(6, *X_SHAPE, generator=torch.Generator().manual_seed(0)) < 0.4).double()
Y = torch.arange(6) % 3
EPS = {"rtol": 0, "atol": 1e-6}

OF_VECTORS = ["UniformOneHot", "UniformRelaxedOneHot", "UniformSphere"]
OF_VECTORS += ["OneHot", "PowerSpherical", "RelaxedOneHot"]
OF_CHANNELS = ["Rescaled"]  # one scale for all places of a channel, which a vector has not
PRIORS = [name for name in names_without_codes(priors) if name not in (*OF_VECTORS, *OF_CHANNELS)]
POSTERIORS = [name for name in names_without_codes(posteriors) if name not in OF_VECTORS]
ESTIMATORS = [kind.__name__ for kind in lone_estimators()]


def build(room, name, latent_dim):
    part = getattr(room, name)
    if "x_shape" in inspect.signature(part).parameters:
        return part(latent_dim, x_shape=X_SHAPE, components=5)
    if part is priors.DiffusionPrior:  # whose network for maps is another one
        return part(latent_dim, network=networks.TimeMLP)
    return part(latent_dim)


def pair(make):
    """The same program with a latent of a shape and with a vector, in float64."""
    shaped, flat = make(SHAPE).double(), make(SIZE).double()
    give_weights(shaped, flat)
    return shaped, flat


def give_weights(shaped, flat):
    ours, theirs = (
        [p.data for p in (*each.parameters(), *each.buffers())] for each in (shaped, flat)
    )
    for to, value in zip(theirs, ours, strict=True):
        to.copy_(value.reshape(to.shape))


def off_start(part):
    """The part with its parameters moved, so that none is special."""
    with torch.no_grad():
        for parameter in part.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return part


def vae(prior, posterior, latent_dim):
    return models.VAE(
        X_SHAPE,
        latent_dim,
        prior=build(priors, prior, latent_dim),
        posterior=build(posteriors, posterior, latent_dim),
        hidden=(8,),
    )


def seeded(function, *args, **kwargs):
    pyro.set_rng_seed(1)
    return function(*args, **kwargs)


@pytest.mark.parametrize("name", PRIORS)
def test_a_priors_density_is_that_of_the_flattened_latent(name):
    if name == "VampPrior":
        shaped, flat = (program.prior() for program in pair(partial(vae, name, "DiagonalNormal")))
    else:
        parts = pair(lambda latent_dim: build(priors, name, latent_dim))
        shaped, flat = (part() for part in parts)
    z = torch.randn(7, 5, *SHAPE, dtype=torch.float64)
    assert shaped.batch_shape == () and shaped.event_shape == SHAPE
    assert shaped.support.event_dim == 3
    torch.testing.assert_close(shaped.log_prob(z), flat.log_prob(z.flatten(2)), **EPS)
    wide = shaped.expand((7, 5))
    torch.testing.assert_close(wide.log_prob(z), flat.log_prob(z.flatten(2)), **EPS)
    if name != "Flat":
        draws = seeded(shaped.sample, (7, 5)), seeded(flat.sample, (7, 5))
        assert draws[0].shape == (7, 5, *SHAPE)
        torch.testing.assert_close(draws[0].flatten(2), draws[1], **EPS)


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_posteriors_density_is_that_of_the_flattened_latent(name):
    parts = pair(lambda latent_dim: off_start(build(posteriors, name, latent_dim)))
    h = 0.5 * torch.randn(5, *parts[0].param_shape, dtype=torch.float64)
    shaped, flat = parts[0](h), parts[1](h.reshape(5, *parts[1].param_shape))
    assert shaped.batch_shape == (5,) and shaped.event_shape == SHAPE
    assert shaped.has_rsample and shaped.support.event_dim == 3
    z, vector = seeded(shaped.rsample, (7,)), seeded(flat.rsample, (7,))
    torch.testing.assert_close(z.flatten(2), vector, **EPS)
    torch.testing.assert_close(shaped.log_prob(z), flat.log_prob(vector), **EPS)
    other = vector.detach().clone()
    if name != "Delta":  # the density of any other value than the last draw
        other += 0.1
    unflat = other.unflatten(-1, SHAPE)
    torch.testing.assert_close(shaped.log_prob(unflat), flat.log_prob(other), **EPS)
    if name not in ("InverseAutoregressiveFlow", "SplineFlow"):
        torch.testing.assert_close(shaped.mean.flatten(1), flat.mean, **EPS)
        torch.testing.assert_close(shaped.variance.flatten(1), flat.variance, **EPS)


@pytest.mark.parametrize("name", ["StandardNormal", "Laplace"])
@pytest.mark.parametrize("posterior", ["DiagonalNormal", "FullNormal", "LowRankNormal"])
def test_a_kl_in_closed_form_is_that_of_the_flattened_latent(posterior, name):
    q_parts = pair(lambda latent_dim: build(posteriors, posterior, latent_dim))
    p_parts = pair(lambda latent_dim: build(priors, name, latent_dim))
    h = 0.5 * torch.randn(5, *q_parts[0].param_shape, dtype=torch.float64)
    shaped = kl_divergence(q_parts[0](h), p_parts[0]().expand((5,)))
    flat = kl_divergence(q_parts[1](h.reshape(5, *q_parts[1].param_shape)), p_parts[1]())
    torch.testing.assert_close(shaped, flat, **EPS)


def test_the_kl_of_two_correlated_latents_of_a_shape_is_that_of_the_vectors():
    parts = pair(lambda latent_dim: build(posteriors, "FullNormal", latent_dim))
    h = 0.5 * torch.randn(2, 5, *parts[0].param_shape, dtype=torch.float64)
    shaped, flat = (kl_divergence(part(h[0]), part(h[1])) for part in parts)
    torch.testing.assert_close(shaped, flat, **EPS)
    torch.testing.assert_close(parts[0](h).entropy(), parts[1](h).entropy(), **EPS)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_vae_has_the_bound_of_the_flattened_latent(prior, posterior):
    if (prior, posterior) == ("VampPrior", "Delta"):
        pytest.skip("a mixture of posteriors needs their density")
    shaped, flat = pair(partial(vae, prior, posterior))
    check(shaped, X)
    for estimator in (Trace_ELBO(num_particles=3), TraceMeanField_ELBO()):
        losses = [seeded(estimator.loss, p.model, p.guide, X) for p in (shaped, flat)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6), type(estimator).__name__
    if prior != "Flat" or posterior == "Delta":  # else the value is no bound, as evaluate warns
        bounds = [seeded(evaluate, p, X).bound for p in (shaped, flat)]
        torch.testing.assert_close(*bounds, **EPS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_has_the_loss_and_gradient_of_the_flattened_latent(name):
    shaped, flat = pair(partial(vae, "StandardNormal", "DiagonalNormal"))
    estimator = getattr(inference, name)()
    found = []
    for program in (shaped, flat):
        loss = seeded(estimator.differentiable_loss, program.model, program.guide, X)
        gradients = torch.autograd.grad(loss, list(program.parameters()))
        found.append((loss, torch.cat([g.flatten() for g in gradients])))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, **EPS)


@pytest.mark.parametrize("options", [{"free_bits": 0.5}, {"free_bits_per_dimension": 0.1}], ids=str)
def test_free_bits_are_those_of_the_flattened_latent(options):
    programs = pair(partial(vae, "StandardNormal", "DiagonalNormal"))
    estimator = TraceMeanField_ELBO(**options)
    losses = [seeded(estimator.loss, p.model, p.guide, X) for p in programs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


# Programs of 18 numbers, or of (2, 3, 3), in every place that a latent has.
PROGRAMS = {
    "VAE": models.VAE,
    "Autoencoder": models.Autoencoder,
    "BayesianVAE": partial(models.BayesianVAE, num_data=6),
    "ConditionalVAE": partial(models.ConditionalVAE, num_classes=3),
    "a prior of y": lambda x_shape, latent_dim, **options: models.ConditionalVAE(
        x_shape, latent_dim, prior=posteriors.DiagonalNormal(latent_dim), num_classes=3, **options
    ),
    "GaussianMixtureVAE": models.GaussianMixtureVAE,
    "SemiSupervisedVAE": partial(models.SemiSupervisedVAE, num_classes=3),
    "HierarchicalVAE": lambda x_shape, latent_dim, *, hidden: models.HierarchicalVAE(
        x_shape, (latent_dim, latent_dim), hidden=hidden
    ),
    "HVAE": lambda x_shape, latent_dim, *, hidden: models.HVAE(
        x_shape, (latent_dim, latent_dim), hidden=(5, 6)
    ),
    "LadderVAE": lambda x_shape, latent_dim, *, hidden: models.LadderVAE(
        x_shape, (latent_dim, latent_dim), hidden=hidden
    ),
    "DeepMarkovModel": lambda x_shape, latent_dim, *, hidden: models.DeepMarkovModel(
        x_shape[1:], latent_dim, rnn_dim=5, hidden=hidden
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
class TestPrograms:
    def programs(self, name):
        shaped, flat = pair(lambda latent_dim: PROGRAMS[name](X_SHAPE, latent_dim, hidden=(8,)))
        x = X[:, 0] if name == "DeepMarkovModel" else X
        y = Y if takes_labels(shaped) else None
        return shaped, flat, x, y

    def test_has_the_bound_of_flat_latents(self, name):
        shaped, flat, x, y = self.programs(name)
        args = (x,) if y is None else (x, y)
        check(shaped, x, y=y)
        losses = [seeded(Trace_ELBO(2).loss, p.model, p.guide, *args) for p in (shaped, flat)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)

    def test_draws_encodes_reconstructs_and_decodes_as_flat_latents_do(self, name):
        shaped, flat, x, y = self.programs(name)
        if name != "Autoencoder":
            draws = [seeded(sample, p, 6, x.shape[1:], y=y) for p in (shaped, flat)]
            torch.testing.assert_close(*draws, **EPS)
        torch.testing.assert_close(*(seeded(reconstruct, p, x, y) for p in (shaped, flat)), **EPS)
        latents = [seeded(encode, p, x, y) for p in (shaped, flat)]
        for site in latents[0]:
            ours, theirs = (found[site] for found in latents)
            if site not in ("y", "theta"):
                assert ours.shape == (6, *SHAPE)
            torch.testing.assert_close(ours.reshape(theirs.shape), theirs, **EPS)
        means = [
            decode(p, z, 6, x.shape[1:], y=y) for p, z in zip((shaped, flat), latents, strict=True)
        ]
        torch.testing.assert_close(*means, **EPS)


def test_the_likelihood_by_importance_sampling_is_that_of_the_flattened_latent():
    programs = pair(partial(vae, "GaussianMixture", "FullNormal"))
    found = [seeded(log_likelihood, p, X, num_particles=20) for p in programs]
    torch.testing.assert_close(*found, **EPS)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_steps_of_a_latent_of_a_shape_are_captured_bit_for_bit(posterior):
    program = vae("StandardNormal", posterior, SHAPE)
    twin, losses = copy.deepcopy(program), []
    for each, compile in ((program, False), (twin, Compile(mode="captured"))):
        pyro.set_rng_seed(0)
        svi = SVI(each.model, each.guide, pyro.optim.Adam({"lr": 1e-3}), compile=compile)
        losses.append([svi.step(X.float()).item() for _ in range(5)])
    assert losses[0] == losses[1]


def test_convolutional_networks_carry_a_map_from_encoder_to_decoder():
    program = models.VAE(
        (1, 9, 6),
        (4, 3, 2),
        encoder=partial(networks.ResidualEncoder, channels=(4, 8)),
        decoder=partial(networks.ResidualDecoder, channels=(4, 8)),
    )
    linear = [part for part in program.modules() if isinstance(part, nn.Linear)]
    assert not linear  # a number of z is of its place in x
    x = (torch.rand(5, 1, 9, 6) < 0.5).float()
    check(program, x)
    assert encode(program, x)["z"].shape == (5, 4, 3, 2)
    assert reconstruct(program, x).shape == x.shape
    trace = poutine.trace(program.guide).get_trace(x)
    assert trace.nodes["z"]["fn"].event_dim == 3


@pytest.mark.parametrize("name", OF_VECTORS)
def test_a_part_of_vectors_alone_refuses_a_shape(name):
    part = getattr(priors, name, None) or getattr(posteriors, name)
    sentence = rf"the z of a {name} is one vector, but latent_dim is \(2, 3, 3\); give .* 18"
    with pytest.raises(ValueError, match=sentence):
        part(SHAPE)
    assert part((18,)).latent_dim == 18


def test_a_solved_program_refuses_a_shape():
    with pytest.raises(ValueError, match="the z of a LinearGaussian is one vector"):
        models.LinearGaussian(X_SHAPE, SHAPE)


@pytest.mark.parametrize("size", [0, -1, (), (2, 0), [3, -1]])
def test_a_latent_without_numbers_is_refused(size):
    for part in (priors.StandardNormal, priors.FlowPrior, posteriors.FullNormal):
        with pytest.raises(ValueError, match="latent_dim must be at least 1, but is"):
            part(size)


@pytest.mark.parametrize("size", ["many", 2.5, (2, 3.5), None])
def test_what_is_no_shape_is_refused(size):
    with pytest.raises(TypeError, match="must be the size of a vector, such as 20, or a shape"):
        priors.StandardNormal(size)


def test_parts_of_different_shapes_are_refused_with_both():
    with pytest.raises(ValueError, match=r"prior's latent_dim is \(3,\).*needs \(2, 3, 3\)"):
        models.VAE(X_SHAPE, SHAPE, prior=priors.StandardNormal(3))
    with pytest.raises(ValueError, match=r"latent_dim is \(18,\).*needs \(2, 3, 3\)"):
        models.VAE(X_SHAPE, SHAPE, posterior=posteriors.DiagonalNormal(18))
    models.VAE(X_SHAPE, 18, prior=priors.StandardNormal((18,)))


def test_the_command_line_trains_and_shows_a_latent_of_a_shape(run, tmp_path):
    program = "VAE(latent_dim=(2, 3, 3), prior=GaussianMixture((2, 3, 3)), hidden=(8,))"
    code, out, err = run("train", program, "--epochs", 1, "--out", "a")
    assert (code, err) == (0, ""), err
    for verb, options in (
        ("evaluate", ("--num-particles", 5, "--limit", 20)),
        ("sample", ()),
        ("reconstruct", ()),
        ("interpolate", ()),
        ("manifold", ()),
    ):
        code, out, err = run(verb, "a", *options)
        assert (code, err) == (0, ""), f"{verb}: {err}"
    code, _, err = run("train", "VAE(latent_dim=(2, 0))", "--out", "b")
    assert code == 2 and "latent_dim must be at least 1, but is (2, 0)" in err
