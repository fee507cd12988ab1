"""Posteriors: each density against a known one, each draw against its density, each KL likewise."""

import copy
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch.distributions import kl_divergence
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae import posteriors, priors

from .code_parts import names_without_codes

CORRELATED = ["FullNormal", "LowRankNormal"]
FLOWS = ["InverseAutoregressiveFlow", "SplineFlow"]
ON_R = ["DiagonalNormal", *CORRELATED, *FLOWS]
POSTERIORS = names_without_codes(posteriors)
REPARAMETERIZED = [name for name in POSTERIORS if name != "OneHot"]


def build(name, latent_dim=3):
    """A posterior in float64 whose networks are off their start, as it is used: in eval()."""
    posterior = getattr(posteriors, name)(latent_dim)
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return posterior.double().eval()


def encoded(posterior, *shape):
    """What an encoder might give, (*shape, *param_shape)."""
    return 0.7 * torch.randn(*shape, *posterior.param_shape, dtype=torch.float64)


@pytest.mark.parametrize("name", POSTERIORS)
class TestEveryPosterior:
    def test_keeps_leading_dimensions_and_precision(self, name):
        posterior = build(name)
        assert posterior.latent_dim == 3
        h = encoded(posterior, 7, 5)
        q = posterior(h)
        assert q.batch_shape == (7, 5) and q.event_shape == (3,)
        z = q.sample((4,))
        assert z.shape == (4, 7, 5, 3) and z.dtype == torch.float64
        assert q.log_prob(z).shape == (4, 7, 5)
        torch.testing.assert_close(q.log_prob(z)[:, 2, 3], posterior(h[2, 3]).log_prob(z[:, 2, 3]))
        assert q.support.check(z).all()
        q = posterior.float()(h.float())
        assert q.sample().dtype == q.log_prob(q.sample()).dtype == torch.float32

    def test_expands_and_is_masked(self, name):
        posterior = build(name)
        q = posterior(encoded(posterior, 5))
        z = q.sample((7,))
        torch.testing.assert_close(q.expand((7, 5)).log_prob(z), q.log_prob(z))
        assert q.expand((7, 5)).sample().shape == (7, 5, 3)
        mask = torch.arange(5) < 2
        masked = q.mask(mask).log_prob(z)
        torch.testing.assert_close(masked, torch.where(mask, q.log_prob(z), 0.0))

    def test_stands_in_plates(self, name):
        posterior = build(name)
        h = encoded(posterior, 5)
        with pyro.plate("particles", 4, dim=-2), pyro.plate("data", 5):
            trace = poutine.trace(lambda: pyro.sample("z", posterior(h))).get_trace()
        assert trace.nodes["z"]["value"].shape == (4, 5, 3)
        trace.compute_log_prob()
        assert trace.nodes["z"]["log_prob"].shape == (4, 5)

    def test_is_traced_as_one_graph(self, name):
        posterior = build(name)
        h, other = encoded(posterior, 6), encoded(posterior, 6)
        with pyro.validation_enabled(False):
            z = posterior(h).sample()
            graph = make_fx(lambda h, z: (posterior(h).log_prob(z), posterior(h)()))(h, z)
        log_q, draw = graph(other, z)
        assert draw.shape == (6, 3)
        torch.testing.assert_close(log_q, posterior(other).log_prob(z))

    def test_loses_nothing_when_copied_or_saved(self, name):
        posterior, twin = build(name), build(name)
        h = encoded(posterior, 6)
        z = posterior(h).sample()
        twin.load_state_dict(copy.deepcopy(posterior.state_dict()))
        for each in (twin, copy.deepcopy(posterior)):
            assert torch.equal(each(h).log_prob(z), posterior(h).log_prob(z))

    def test_h_of_zeros_is_a_start_for_training(self, name):
        posterior = build(name)
        h = torch.zeros(200, *posterior.param_shape, dtype=torch.float64, requires_grad=True)
        q = posterior(h)
        log_q = q.log_prob(q.sample())
        assert log_q.isfinite().all()
        if name != "Delta":
            log_q.sum().backward()
            assert h.grad.isfinite().all() and (h.grad != 0).any()


@pytest.mark.parametrize("name", [name for name in POSTERIORS if name != "PowerSpherical"])
def test_a_posterior_is_built_for_one_latent_and_refuses_none(name):
    posterior = build(name, latent_dim=1)
    q = posterior(encoded(posterior, 6))
    assert q.log_prob(q.sample()).shape == (6,)
    with pytest.raises(ValueError, match="latent_dim must be at least 1, but is 0"):
        getattr(posteriors, name)(0)


@pytest.mark.parametrize("name", REPARAMETERIZED)
def test_a_draw_has_the_log_density_and_gradient_of_any_such_value(name):
    """What replay, sticking the landing and the VampPrior ask for, without what is remembered."""
    posterior = build(name)
    h = encoded(posterior, 6).requires_grad_()
    leaves = [h, *posterior.parameters()]
    q = posterior(h)
    z = q.rsample()
    values = [q.log_prob(z), q.log_prob(z.view_as(z)), posterior(h).log_prob(z.clone())]
    gradients = (
        [torch.autograd.grad(v.sum(), leaves, retain_graph=True, allow_unused=True) for v in values]
        if name != "Delta"
        else []
    )
    for value in values[1:]:
        torch.testing.assert_close(value, values[0])
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0])


@pytest.mark.parametrize("name", FLOWS)
def test_the_gradient_reaches_every_parameter_of_a_flow_and_all_of_h(name):
    posterior = build(name)
    h = encoded(posterior, 50).requires_grad_()
    q = posterior(h)
    (q.log_prob(z := q.rsample()) + z.square().sum(-1)).sum().backward()
    for key, parameter in [("h", h), *posterior.named_parameters()]:
        assert parameter.grad is not None and (parameter.grad != 0).any(), key
    assert (h.grad != 0).any(0).all()


@pytest.mark.parametrize("name", ON_R)
def test_a_density_integrates_to_one_and_its_draws_follow_it(name):
    """By the trapezoidal rule: to rounding for Normals, to kinks of ReLUs and splines for flows."""
    posterior = build(name, latent_dim=2)
    q = posterior(0.5 * encoded(posterior))  # scales of 0.5 to 2, so that nothing lies beyond 10
    step, side = 0.08, 10.0
    axis = torch.arange(-side, side + step / 2, step, dtype=torch.float64)
    with torch.no_grad():
        density = q.log_prob(torch.cartesian_prod(axis, axis)).exp() * step**2
        tolerance = {"InverseAutoregressiveFlow": 1e-5, "SplineFlow": 5e-4}.get(name, 1e-8)
        assert density.sum().item() == pytest.approx(1, abs=tolerance)
        density, z = density.reshape(len(axis), len(axis)), q.sample((10_000,))
    for values, marginal in ((z[:, 0], density.sum(1)), (z[:, 1], density.sum(0))):
        for power in (1, 2):
            draws = values**power
            exact = (marginal * axis**power).sum()
            # 5 standard errors, and the rule's error in the mass times a z^2 of 2.
            assert (draws.mean() - exact).abs() < 5 * draws.std() / 100 + 1e-3
    exact = (density * axis[:, None] * axis).sum()
    draws = z.prod(-1)
    assert (draws.mean() - exact).abs() < 5 * draws.std() / 100 + 1e-3


@pytest.mark.parametrize("name", FLOWS)
def test_the_log_density_of_a_flow_is_the_change_of_variables(name):
    """The determinant by autograd, of the map from the draws of a standard Normal to z."""
    posterior = build(name)
    h = encoded(posterior)

    def z_of(eps):
        q = posterior(h)
        if name == "SplineFlow":
            return q.dist.transform.inv(eps)
        z = h[:3] + h[3:6].exp() * eps
        for step in q.transforms:
            z = step(z)
        return z

    eps = torch.randn(3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(z_of, eps)
    exact = stats.norm.logpdf(eps).sum() - torch.linalg.slogdet(jacobian)[1].item()
    assert posterior(h).log_prob(z_of(eps)).item() == pytest.approx(exact, rel=1e-9)


def test_a_step_of_the_inverse_flow_is_the_papers_and_autoregressive():
    posterior = build("InverseAutoregressiveFlow")
    h, z = encoded(posterior), torch.randn(3, dtype=torch.float64)
    step = posterior(h).transforms[0]
    m, s = posterior.networks[0](z, h[6:])
    gate = torch.sigmoid(s + 2)
    torch.testing.assert_close(step(z), (gate * z + (1 - gate) * m).flip(-1))
    jacobian = torch.autograd.functional.jacobian(step, z).flip(0)
    assert torch.equal(jacobian.triu(1), torch.zeros_like(jacobian))
    assert (jacobian.tril()[torch.tril_indices(3, 3).unbind()] != 0).all()
    torch.testing.assert_close(step.inv(step(z).clone()), z)


def test_the_inverse_flow_runs_each_network_once_for_a_draw_and_its_density():
    posterior = build("InverseAutoregressiveFlow")
    calls = []
    for network in posterior.networks:
        network.register_forward_hook(lambda *_: calls.append(1))
    q = posterior(encoded(posterior, 6))
    q.log_prob(q.rsample())
    assert len(calls) == len(posterior.networks)


def covariance(name, h):
    """The covariance that h (D,) or (2 + rank, d) stands for, written out, and the mean."""
    if name == "DiagonalNormal":
        return h[0].numpy(), np.diag(np.exp(2 * h[1].numpy()))
    if name == "LowRankNormal":
        return h[0].numpy(), (h[2:].T @ h[2:] + (2 * h[1]).exp().diag()).numpy()
    tril = np.zeros((3, 3))
    tril[np.tril_indices(3)] = h[3:].numpy()
    np.fill_diagonal(tril, np.exp(tril.diagonal()))
    return h[:3].numpy(), tril @ tril.T


@pytest.mark.parametrize("name", ["DiagonalNormal", *CORRELATED])
def test_a_normal_is_scipys(name):
    posterior = build(name)
    h, z = encoded(posterior), torch.randn(4, 3, dtype=torch.float64)
    exact = stats.multivariate_normal(*covariance(name, h)).logpdf(z.numpy())
    np.testing.assert_allclose(posterior(h).log_prob(z), exact, rtol=1e-10)


@pytest.mark.parametrize("name", ["DiagonalNormal", *CORRELATED])
def test_the_kl_from_a_normal_to_the_standard_normal_is_the_textbooks(name):
    posterior = build(name)
    h = encoded(posterior)
    loc, cov = covariance(name, h)
    exact = (np.trace(cov) + loc @ loc - 3 - np.linalg.slogdet(cov)[1]) / 2
    prior = priors.StandardNormal(3).double()()
    assert kl_divergence(posterior(h), prior).item() == pytest.approx(exact, rel=1e-10)
    h = encoded(posterior, 7, 5)
    assert kl_divergence(posterior(h), prior.expand((7, 5))).shape == (7, 5)


CLOSED = [
    *((name, "StandardNormal") for name in ["DiagonalNormal", *CORRELATED]),
    *((name, "Laplace") for name in ["DiagonalNormal", *CORRELATED]),
    ("PowerSpherical", "UniformSphere"),
    ("OneHot", "UniformOneHot"),
]


@pytest.mark.parametrize("name, prior", CLOSED)
def test_a_closed_kl_is_the_mean_of_its_draws(name, prior):
    posterior = build(name)
    q = posterior(encoded(posterior, 2))
    p = getattr(priors, prior)(3).double()().expand((2,))
    z = q.sample((20_000,))
    draws = q.log_prob(z) - p.log_prob(z)
    error = draws.std(0) / 20_000**0.5
    assert ((draws.mean(0) - kl_divergence(q, p)).abs() < 5 * error + 1e-12).all()


def test_a_kl_that_is_not_known_says_so():
    posterior = build("FullNormal")
    for prior in (priors.StudentT(3), priors.GaussianMixture(3)):
        with pytest.raises(NotImplementedError):
            kl_divergence(posterior(encoded(posterior)), prior.double()())


def test_delta_is_at_its_point_and_its_kl_is_the_priors_penalty():
    h = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    q = posteriors.Delta(3)(h)
    assert torch.equal(q.rsample(), h) and q.rsample().requires_grad
    assert torch.equal(q.log_prob(h), torch.zeros(6, dtype=torch.float64))
    assert torch.equal(q.log_prob(h + 1), torch.full((6,), -math.inf, dtype=torch.float64))
    exact = -stats.norm.logpdf(h.detach()).sum(-1)
    prior = priors.StandardNormal(3).double()().expand((6,))
    np.testing.assert_allclose(kl_divergence(q, prior).detach(), exact)


def test_one_hot_is_a_categorical_that_can_be_enumerated():
    h = torch.randn(6, 3, dtype=torch.float64)
    q = posteriors.OneHot(3)(h)
    assert not q.has_rsample and q.has_enumerate_support
    log_q = q.log_prob(q.enumerate_support())  # (3, 6)
    torch.testing.assert_close(log_q.T, h.log_softmax(-1))


def test_relaxed_one_hot_is_pyros_and_its_largest_entry_the_categoricals():
    h = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    q = posteriors.RelaxedOneHot(3, temperature=0.7)(h)
    original = dist.RelaxedOneHotCategorical(torch.tensor(0.7).double(), logits=h)
    z = q.sample((20_000,))
    torch.testing.assert_close(q.log_prob(z[:50]), original.log_prob(z[:50]))
    # Proposition 1 (b) of Maddison et al.: P(z_k is the largest) = softmax(h)_k.
    found = torch.bincount(z.argmax(-1)) / 20_000
    exact = h.softmax(-1)
    assert ((found - exact).abs() < 5 * (exact * (1 - exact) / 20_000).sqrt()).all()


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_relaxed_draws_in_float32_and_their_gradients_are_finite(temperature):
    h = (3 * torch.randn(500, 10)).requires_grad_()
    q = posteriors.RelaxedOneHot(10, temperature=temperature)(h)
    z = q.rsample()
    assert q.support.check(z).all()
    rate = q.log_prob(z) - priors.UniformRelaxedOneHot(10)().log_prob(z)
    rate.sum().backward()
    assert rate.isfinite().all() and h.grad.isfinite().all()


@pytest.mark.parametrize("concentration", [0.5, 8.0])
def test_power_spherical_on_the_circle_integrates_to_one_and_draws_follow_it(concentration):
    loc = torch.tensor([0.6, 0.8], dtype=torch.float64)
    posterior = posteriors.PowerSpherical(2)
    h = torch.tensor([-0.4, 0.8, math.log(math.expm1(concentration))], dtype=torch.float64)
    q = posterior.double()(h)
    torch.testing.assert_close(q.loc, loc)
    torch.testing.assert_close(q.concentration.item(), concentration)
    angle = torch.arange(20_000, dtype=torch.float64) * 2 * math.pi / 20_000
    z = torch.stack([angle.cos(), angle.sin()], -1)
    weight = q.log_prob(z).exp() * 2 * math.pi / 20_000
    # The cusp of (1 + t)^0.5 at t = -1 costs step^2 times its slope's jump, some 1e-8.
    assert weight.sum().item() == pytest.approx(1, abs=1e-7)
    draws = q.sample((20_000,))
    for power in (1, 2):
        exact = (weight[:, None] * z**power).sum(0)
        error = (draws**power).std(0) / 20_000**0.5
        assert (((draws**power).mean(0) - exact).abs() < 5 * error).all()


@pytest.mark.parametrize("latent_dim", [2, 3, 10])
def test_power_spherical_has_the_mean_of_the_paper(latent_dim):
    """E[loc . z] = (alpha - beta) / (alpha + beta), and nothing points across loc."""
    posterior = build("PowerSpherical", latent_dim)
    q = posterior(encoded(posterior))
    z = q.sample((20_000,))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(20_000, dtype=torch.float64))
    exact = (q.alpha - q.beta) / (q.alpha + q.beta) * q.loc
    assert ((z.mean(0) - exact).abs() < 5 * z.std(0) / 20_000**0.5).all()


def test_power_spherical_in_float32_keeps_finite_gradients_when_it_is_sharp_or_flat():
    posterior = posteriors.PowerSpherical(2)
    h = torch.randn(2000, 3)
    h[:, 2] = torch.linspace(-10, 1e4, 2000)
    h.requires_grad_()
    q = posterior(h)
    z = q.rsample()
    (q.log_prob(z) + z.sum(-1)).sum().backward()
    assert z.isfinite().all() and h.grad.isfinite().all()


@pytest.mark.parametrize(
    "build_it, sentence",
    [
        (lambda: posteriors.PowerSpherical(1), "at least 2, but got 1"),
        (lambda: posteriors.LowRankNormal(3, rank=0), "rank must be at least 1, but is 0"),
        (lambda: posteriors.RelaxedOneHot(3, temperature=0.0), "temperature must be positive"),
        (lambda: posteriors.InverseAutoregressiveFlow(3, flows=0), "flows must be at least 1"),
        (lambda: posteriors.InverseAutoregressiveFlow(3, context=0), "context must be at least 1"),
        (lambda: posteriors.SplineFlow(3, transforms=0), "transforms must be at least 1"),
        (lambda: posteriors.SplineFlow(3, hidden=(0,)), "hidden must be at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(build_it, sentence):
    with pytest.raises(ValueError, match=sentence):
        build_it()


def test_a_bounded_normal_is_the_diagonal_one_within_its_bounds():
    bounded = posteriors.BoundedNormal(3, min_log_scale=-1.0, max_log_scale=0.5)
    h = torch.stack([torch.randn(3), torch.tensor([-2.0, 0.2, 7.0])])
    q = bounded(h)
    assert torch.equal(q.mean, h[0])
    torch.testing.assert_close(q.stddev.log(), torch.tensor([-1.0, 0.2, 0.5]))
    with pytest.raises(ValueError, match="min_log_scale must be below max_log_scale"):
        posteriors.BoundedNormal(3, min_log_scale=1.0)
