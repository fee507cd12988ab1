"""Priors: each density against a known one, each draw against its density."""

import copy
import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy import integrate, special, stats
from torch import nn
from torch.distributions import kl_divergence
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae import posteriors, priors
from pyro_vae.distributions import NormalMixture
from pyro_vae.networks import MLP
from pyro_vae.priors.flat import FlatDistribution

from .code_parts import names_without_codes

X_SHAPE = (2, 2)
LEARNED = ["AutoregressivePrior", "FlowPrior", "GaussianMixture", "VampPrior"]
ESTIMATED = ["DiffusionPrior"]  # whose log_prob is noisy; test_diffusion.py is its test
PRIORS = [name for name in names_without_codes(priors) if name not in ESTIMATED]
POSTERIORS = names_without_codes(posteriors)
PROPER = [name for name in PRIORS if name != "Flat"]
ON_THE_PLANE = [name for name in PROPER if not name.startswith("Uniform")]


def build(name, latent_dim=3, posterior="DiagonalNormal"):
    """A prior in float64 whose parameters are off their start, so that none is special."""
    if name == "VampPrior":
        prior = priors.VampPrior(latent_dim, x_shape=X_SHAPE, components=5)
        part = getattr(posteriors, posterior)(latent_dim)
        prior.attach(MLP(X_SHAPE, part.param_shape).double(), part.double())
    else:
        prior = getattr(priors, name)(latent_dim)
    with torch.no_grad():
        for parameter in prior.parameters():
            # Biases and weights of mixtures more, so that components differ.
            parameter += (0.4 if parameter.dim() == 1 else 0.05) * torch.randn_like(parameter)
    return prior.double()


def inside(p, num):
    """Values that the prior can have, (num, d)."""
    if isinstance(p, FlatDistribution):
        return torch.randn(num, *p.event_shape, dtype=torch.float64)
    return p.sample((num,))


@pytest.mark.parametrize("name", PRIORS)
class TestEveryPrior:
    def test_is_a_distribution_over_one_latent_in_its_own_precision(self, name):
        prior = build(name)
        p = prior()
        assert p.batch_shape == () and p.event_shape == (prior.latent_dim,) == (3,)
        z = inside(p, 35).reshape(7, 5, 3)
        assert z.dtype == torch.float64
        assert p.log_prob(z).shape == (7, 5) and p.log_prob(z).dtype == torch.float64
        for part in (prior, *(getattr(prior, "attached", None) or ())):
            part.float()
        assert prior().log_prob(z.float()).dtype == torch.float32

    def test_treats_every_leading_dimension_alike(self, name):
        p = build(name)()
        z = inside(p, 35).reshape(7, 5, 3)
        torch.testing.assert_close(p.log_prob(z)[2, 3], p.log_prob(z[2, 3]))
        torch.testing.assert_close(p.expand((7, 5)).log_prob(z), p.log_prob(z))
        mask = torch.arange(5) < 2
        masked = p.expand((5,)).mask(mask).log_prob(z)
        torch.testing.assert_close(masked, torch.where(mask, p.log_prob(z), 0.0))

    def test_its_density_is_traced_as_one_graph(self, name):
        prior = build(name)
        z, other = inside(prior(), 6), inside(prior(), 6)
        with pyro.validation_enabled(False):
            graph = make_fx(lambda z: prior().log_prob(z))(z)
        torch.testing.assert_close(graph(other), prior().log_prob(other))

    def test_loses_nothing_when_copied_or_saved(self, name):
        prior = build(name)
        z = inside(prior(), 6)
        twin = build(name)
        twin.load_state_dict(copy.deepcopy(prior.state_dict()))
        if name == "VampPrior":
            twin.attach(*prior.attached)
        for each in (twin, copy.deepcopy(prior)):
            assert torch.equal(each().log_prob(z), prior().log_prob(z))


@pytest.mark.parametrize("name", PROPER)
def test_a_prior_stands_in_plates(name):
    prior = build(name)
    with pyro.plate("particles", 4, dim=-2), pyro.plate("data", 5):
        trace = poutine.trace(lambda: pyro.sample("z", prior())).get_trace()
    assert trace.nodes["z"]["value"].shape == (4, 5, 3)
    trace.compute_log_prob()
    assert trace.nodes["z"]["log_prob"].shape == (4, 5)
    assert len(trace.nodes["z"]["value"].reshape(20, 3).unique(dim=0)) > 1  # not one draw for all


@pytest.mark.parametrize("name", LEARNED)
def test_the_gradient_reaches_every_parameter(name):
    prior = build(name)
    prior().log_prob(inside(prior(), 50)).sum().backward()
    for key, parameter in prior.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), key


@pytest.mark.parametrize("name", [name for name in PRIORS if name != "UniformSphere"])
def test_a_prior_is_built_for_one_latent_and_refuses_none(name):
    p = build(name, latent_dim=1)()
    assert p.log_prob(inside(p, 6)).isfinite().all()
    arguments = {"x_shape": X_SHAPE} if name == "VampPrior" else {}
    with pytest.raises(ValueError, match="latent_dim must be at least 1, but is 0"):
        getattr(priors, name)(0, **arguments)


@pytest.mark.parametrize("name", ON_THE_PLANE)
def test_a_density_integrates_to_one(name):
    """By the trapezoidal rule, which is exact to rounding for smooth densities that fade out."""
    step, side = (0.05, 25.0) if name in ("Laplace", "StudentT") else (0.05, 14.0)
    axis = torch.arange(-side, side + step / 2, step, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = build(name, latent_dim=2)().log_prob(grid).exp().sum() * step**2
    # Laplace's kinks cost step^2 / 12 for each axis; Student's tails beyond 25 hold 2e-6 for each;
    # a network of ReLUs makes a kink in a density that costs a fraction of step^2 / 12.
    kinks = {"Laplace": 2.01, "AutoregressivePrior": 0.05, "FlowPrior": 0.05}.get(name, 0)
    tolerance = 5e-6 if name == "StudentT" else 1e-8 + kinks * step**2 / 12
    assert total.item() == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize("name", ON_THE_PLANE)
def test_draws_have_the_moments_of_the_density(name):
    """The second moments by the trapezoidal rule against draws, within 5 standard errors."""
    p = build(name, latent_dim=2)()
    step, side = (0.1, 100.0) if name == "StudentT" else (0.1, 25.0)
    axis = torch.arange(-side, side + step / 2, step, dtype=torch.float64)
    z = p.sample((20_000,))
    with torch.no_grad():
        marginal = torch.stack(
            [p.log_prob(torch.cartesian_prod(a, axis)).exp().sum() for a in axis[:, None]]
        )
    for power in (1, 2):
        exact = (marginal * axis**power).sum() * step**2
        draws = z[:, 0] ** power
        # 2e-3 is twice the error of the rule at Laplace's kink, step^2 / 12 for E[z^2].
        error = 5 * draws.std() / len(draws) ** 0.5 + 2e-3
        assert (draws.mean() - exact).abs() < error


@pytest.mark.parametrize("name", PROPER)
def test_a_draw_that_carries_a_gradient_has_the_log_density_of_any_such_value(name):
    p = build(name)()
    if not p.has_rsample:
        with pytest.raises(NotImplementedError):
            p.rsample()
        return
    z = p.rsample((50,))
    torch.testing.assert_close(p.log_prob(z), p.log_prob(z.clone()))
    with torch.no_grad():
        assert p.sample().requires_grad is False


@pytest.mark.parametrize(
    "prior, exact",
    [
        (priors.StandardNormal(2), stats.norm),
        (priors.Laplace(2), stats.laplace),
        (priors.StudentT(2, df=3.5), stats.t(3.5)),
    ],
)
def test_a_factorized_prior_is_scipys(prior, exact):
    z = np.array([[0.0, 0.4], [-2.0, 7.0]])
    found = prior.double()().log_prob(torch.tensor(z))
    np.testing.assert_allclose(found, exact.logpdf(z).sum(-1), rtol=1e-12)


def test_flat_has_density_one_everywhere_and_cannot_be_sampled():
    p = priors.Flat(3)()
    assert torch.equal(p.log_prob(1e3 * torch.randn(7, 5, 3)), torch.zeros(7, 5))
    with pytest.raises(NotImplementedError, match="no prior to sample from"):
        pyro.sample("z", p.expand((5,)))
    q = posteriors.Delta(3)(torch.randn(5, 3))
    assert torch.equal(kl_divergence(q, p.expand((5,))), torch.zeros(5))


def plain_mixture(logits, loc, log_scale, z):
    """Each component by scipy, without matrix products."""
    log_p = stats.norm(loc.numpy(), log_scale.exp().numpy()).logpdf(z.numpy()[:, None]).sum(-1)
    log_w = logits.log_softmax(-1).numpy()
    return torch.tensor(np.logaddexp.reduce(log_w + log_p, -1))


@pytest.mark.parametrize("scale", [2.0, 0.1, 0.02])
def test_a_mixture_by_matrix_products_is_the_plain_one(scale):
    logits, loc = torch.randn(50, dtype=torch.float64), torch.randn(50, 40, dtype=torch.float64)
    log_scale = math.log(scale) + 0.1 * torch.randn_like(loc)
    # Values near and far; the squares reach 40 * 3^2 / scale^2, of which float64 keeps 2e-16.
    z = loc[:20] + scale * torch.randn(20, 40, dtype=torch.float64)
    p = NormalMixture(logits, loc, log_scale)
    exact = plain_mixture(logits, loc, log_scale, z)
    torch.testing.assert_close(p.log_prob(z), exact, rtol=0, atol=1e-9 if scale < 0.1 else 1e-10)
    # float32 inputs are rounded to 6e-8: the exact density of those, then, to float32's own 6e-8.
    narrow = [t.float() for t in (logits, loc, log_scale, z)]
    exact = plain_mixture(*(t.double() for t in narrow))
    found = NormalMixture(*narrow[:3]).log_prob(narrow[3])
    torch.testing.assert_close(found, exact.float(), rtol=1e-6, atol=1e-5)


def test_the_gradient_of_a_mixture_is_the_plain_ones():
    names = [torch.randn(s, dtype=torch.float64) for s in ((4,), (4, 3), (4, 3), (6, 3))]
    logits, loc, log_scale, z = (t.requires_grad_() for t in names)
    p = dist.MixtureSameFamily(
        dist.Categorical(logits=logits), dist.Normal(loc, log_scale.exp()).to_event(1)
    )
    ours = NormalMixture(logits, loc, log_scale).log_prob(z).sum()
    gradients = [torch.autograd.grad(f, names) for f in (ours, p.log_prob(z).sum())]
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(NormalMixture(logits, loc, log_scale).mean, p.mean)


def test_the_components_of_a_gaussian_mixture_start_apart():
    loc = priors.GaussianMixture(20, components=10).loc
    assert torch.pdist(loc).min() > 1  # distances of about sqrt(40) = 6.3


@pytest.mark.parametrize("posterior", [name for name in POSTERIORS if name != "Delta"])
def test_the_vamp_prior_is_the_posterior_averaged_over_pseudo_inputs(posterior):
    prior = build("VampPrior", posterior=posterior)
    encoder, part = prior.attached
    part.eval()  # in training BatchNormNormal takes the statistics of all of them together
    p = prior()
    components = [part(encoder(u.clamp(0, 1))) for u in prior.pseudo_inputs]
    assert p.support is components[0].support or str(p.support) == str(components[0].support)
    z = p.sample((4, 6))
    exact = (sum(q.log_prob(z).exp() for q in components) / 5).log()
    torch.testing.assert_close(p.log_prob(z), exact)
    torch.testing.assert_close(p.expand((4, 6)).log_prob(z), exact)
    z = p.expand((5000,)).sample()
    means = torch.stack([q.sample((5000,)).mean(0) for q in components]).mean(0)
    # Both are means of 5,000 draws or more, of variances that do not exceed that of z.
    assert ((z.mean(0) - means).abs() < 5 * z.std(0) * (2 / 5000) ** 0.5).all()


class Program(nn.Module):
    """What a program does with a prior that is made of its parts."""

    def __init__(self):
        super().__init__()
        self.posterior = posteriors.DiagonalNormal(3)
        self.encoder = MLP(X_SHAPE, self.posterior.param_shape)
        self.prior = priors.VampPrior(3, x_shape=X_SHAPE, components=5)
        self.prior.attach(self.encoder, self.posterior)


def test_the_vamp_prior_owns_its_pseudo_inputs_alone():
    program = Program()
    assert [name for name in program.state_dict() if "prior" in name] == ["prior.pseudo_inputs"]
    assert len(list(program.prior.parameters())) == 1
    program.prior().log_prob(torch.zeros(2, 3)).sum().backward()
    assert all(p.grad is not None for p in program.parameters())


def test_the_vamp_prior_tells_what_it_is_attached_to():
    program = Program()
    assert program.prior.attached == (program.encoder, program.posterior)
    assert priors.VampPrior(3, x_shape=X_SHAPE, components=5).attached is None


def test_a_copied_programs_vamp_prior_uses_the_copied_encoder():
    program = Program()
    twin, z = copy.deepcopy(program), torch.zeros(2, 3)
    before = program.prior().log_prob(z)
    nn.init.constant_(twin.encoder.layers[-1].bias, 1.0)
    assert torch.equal(program.prior().log_prob(z), before)
    assert not torch.allclose(twin.prior().log_prob(z), before)
    assert program.double().prior().log_prob(z.double()).dtype == torch.float64


def test_a_vamp_prior_learns_from_binary_data_at_the_ends_of_their_range():
    data = torch.tensor([0.0, 1.0, 1.0, 0.0]).reshape(1, 2, 2)
    prior = priors.VampPrior(3, x_shape=X_SHAPE, pseudo_inputs=data)
    posterior = posteriors.DiagonalNormal(3)
    prior.attach(MLP(X_SHAPE, posterior.param_shape), posterior)
    prior().log_prob(torch.ones(3)).backward()
    assert (prior.pseudo_inputs.grad != 0).all()


def test_fixed_pseudo_inputs_are_used_as_they_are_and_saved():
    data = 3 * torch.randn(4, *X_SHAPE)
    prior = priors.VampPrior(3, x_shape=X_SHAPE, pseudo_inputs=data, learn=False)
    posterior = posteriors.DiagonalNormal(3)
    prior.attach(encoder := MLP(X_SHAPE, posterior.param_shape), posterior)
    z = torch.randn(6, 3)
    exact = [posterior(encoder(u)).log_prob(z).exp() for u in data]
    torch.testing.assert_close(prior().log_prob(z), (sum(exact) / 4).log())
    assert not list(prior.parameters()) and torch.equal(prior.state_dict()["pseudo_inputs"], data)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"learn": False}, "does not learn its pseudo-inputs needs them"),
        ({"pseudo_inputs": torch.zeros(4, 3)}, r"x_shape is \(3,\).*needs \(2, 2\)"),
        ({"pseudo_inputs": torch.zeros(0, 2, 2)}, "components must be at least 1"),
        ({"pseudo_inputs": 2 * torch.ones(4, 2, 2)}, r"reach from 2 to 2.*kept in \[0, 1\]"),
        ({"components": 0}, "components must be at least 1, but is 0"),
    ],
)
def test_a_vamp_prior_refuses_pseudo_inputs_that_do_not_fit(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        priors.VampPrior(3, x_shape=X_SHAPE, **arguments)


def test_a_vamp_prior_says_what_it_lacks_and_what_does_not_fit():
    prior = priors.VampPrior(3, x_shape=X_SHAPE)
    with pytest.raises(RuntimeError, match="no encoder yet"):
        prior()
    posterior = posteriors.DiagonalNormal(4)
    with pytest.raises(ValueError, match=r"latent_dim is \(4,\).*needs \(3,\)"):
        prior.attach(MLP(X_SHAPE, posterior.param_shape), posterior)
    with pytest.raises(ValueError, match=r"in_shape is \(9,\).*needs \(2, 2\)"):
        prior.attach(MLP((9,), (2, 3)), posteriors.DiagonalNormal(3))


def test_the_autoregressive_prior_is_a_product_of_scipys_mixtures():
    p = build("AutoregressivePrior")()
    z = torch.tensor([-1.0, 0.5, 0.2], dtype=torch.float64)
    total = 0.0
    for j in range(3):
        past = torch.cat([z[:j], torch.full((3 - j,), 9.0)])  # what is not yet drawn says nothing
        logits, loc, log_scale = p.network(past)[..., j].detach().numpy()
        density = stats.norm(loc, np.exp(log_scale)).pdf(z[j].item())
        total += np.log((special.softmax(logits) * density).sum())
    assert p.log_prob(z).item() == pytest.approx(total, rel=1e-12)


def test_one_hot_vectors_are_equally_likely():
    p = priors.UniformOneHot(4).double()()
    log_p = p.log_prob(torch.eye(4).double())
    torch.testing.assert_close(log_p, torch.full_like(log_p, -math.log(4)))
    assert p.enumerate_support().shape == (4, 4)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_relaxed_one_hot_is_pyros_with_a_density_that_integrates_to_one(temperature):
    p = priors.UniformRelaxedOneHot(3, temperature=temperature).double()()
    original = dist.RelaxedOneHotCategorical(
        torch.tensor(temperature, dtype=torch.float64), logits=p.logits
    )
    z = p.sample((50,))
    torch.testing.assert_close(p.log_prob(z), original.log_prob(z))

    two = priors.UniformRelaxedOneHot(2, temperature=temperature).double()()

    def density(z_1):
        return two.log_prob(torch.tensor([z_1, 1 - z_1], dtype=torch.float64)).exp().item()

    # Near 0 it goes like z^(t - 1), which is integrable; half of the mass lies below 1/2.
    half = integrate.quad(lambda u: density(u**4) * 4 * u**3, 0, 0.5**0.25)[0]
    assert half == pytest.approx(0.5, abs=1e-6)


def test_relaxed_draws_in_float32_stay_where_the_density_is_finite():
    for temperature, classes in itertools.product((0.05, 0.5), (2, 20)):
        p = priors.UniformRelaxedOneHot(classes, temperature=temperature)()
        z = p.sample((2000,))
        assert p.support.check(z).all() and p.log_prob(z).isfinite().all()


def test_the_uniform_sphere_has_the_area_of_the_circle_and_of_the_ball():
    for latent_dim, area in ((2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)):
        p = priors.UniformSphere(latent_dim).double()()
        z = p.sample((4000,))
        torch.testing.assert_close(p.log_prob(z).exp(), torch.full((4000,), 1 / area).double())
        assert p.support.check(z).all()
        # Each squared coordinate has mean 1 / d and a variance below 1 / d.
        error = 5 * (1 / latent_dim / 4000) ** 0.5
        assert (z.square().mean(0) - 1 / latent_dim).abs().max() < error
        assert z.mean(0).abs().max() < error


@pytest.mark.parametrize(
    "build_it, sentence",
    [
        (lambda: priors.UniformSphere(1), "at least 2, but got 1"),
        (lambda: priors.StudentT(3, df=0.0), "df must be positive and finite, but is 0.0"),
        (lambda: priors.UniformRelaxedOneHot(3, temperature=-1.0), "temperature must be positive"),
        (lambda: priors.GaussianMixture(3, components=0), "components must be at least 1"),
        (lambda: priors.FlowPrior(3, transforms=0), "transforms must be at least 1"),
        (lambda: priors.FlowPrior(3, hidden=(0,)), "hidden must be at least 1"),
        (lambda: priors.AutoregressivePrior(3, hidden=(0,)), "at least one unit"),
    ],
)
def test_arguments_out_of_range_are_refused(build_it, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_it()
