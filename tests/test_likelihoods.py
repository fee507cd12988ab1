"""Every likelihood against scipy, plain formulas and enumeration."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from scipy import integrate, stats
from scipy.special import expit, softmax
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae import likelihoods
from pyro_vae.inference import SVI, Compile
from pyro_vae.likelihoods import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    EachStep,
    HeteroscedasticNormal,
    Laplace,
    LogNormal,
    Mixed,
    NegativeBinomial,
    Nominal,
    Normal,
    OptimalNormal,
    Ordinal,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
)
from pyro_vae.models import VAE

PIXEL = (1, 1, 1)
X_SHAPE = (2, 3, 3)
# Tested in test_tokens: their entries depend on each other, and their means on a draw.
AUTOREGRESSIVE = {"PixelCNNLikelihood", "RecurrentTokens", "TransformerTokens"}
ALL = [getattr(likelihoods, n) for n in likelihoods.__all__ if n not in AUTOREGRESSIVE]


def softplus(t):
    return np.logaddexp(0, t)


def negative_binomial(mu, theta):
    return stats.nbinom(theta, theta / (theta + mu))


class Tilted(stats.rv_continuous):
    """The density proportional to exp(h x) on [0, 1]."""

    def _argcheck(self, h):
        return h != 0

    def _pdf(self, x, h):
        return h * np.exp(h * x) / np.expm1(h)

    def _cdf(self, x, h):
        return np.expm1(h * x) / np.expm1(h)

    def _ppf(self, q, h):
        return np.log1p(q * np.expm1(h)) / h


def table(probs):
    return stats.rv_discrete(values=(np.arange(len(probs)), probs))


def dropped(mu, theta, gate):
    """Counts whose tail above 20,000 is below 1e-12 for the means of these tests."""
    probs = (1 - gate) * negative_binomial(mu, theta).pmf(np.arange(20_000))
    probs[0] += gate
    return table(probs)


def rounded(loc, log_scale, levels):
    """The probabilities of levels from differences of the logistic cdf."""
    n = levels - 1
    edges = (2 * np.arange(1, levels) - 1) / n - 1
    cdf = np.concatenate([[0], expit((edges - loc) / np.exp(log_scale)), [1]])
    return np.diff(cdf)


def ordered(part, h):
    steps = part.steps.detach().double().numpy().ravel()
    thresholds = np.cumsum([steps[0], *np.exp(steps[1:])])
    return table(np.diff(np.concatenate([[0], expit(thresholds - h), [1]])))


def mixed_logistics(h, components, levels):
    logits, (loc, log_scale) = h[:components], h[components:].reshape(components, 2).T
    parts = [rounded(*m, levels) for m in zip(loc, log_scale, strict=True)]
    return table(softmax(logits) @ np.array(parts))


def learned(part, value):
    """A likelihood in float64 whose learned scale or dispersion is no longer 1."""
    for parameter in part.double().parameters():
        torch.nn.init.constant_(parameter, math.log(value))
    return part


# The likelihood of one number, its exact distribution given h, and what x is to be multiplied by.
CASES = {
    "Bernoulli": (Bernoulli(PIXEL), lambda h: stats.bernoulli(expit(h[0])), 1),
    "Beta": (Beta(PIXEL), lambda h: stats.beta(*softplus(h)), 1),
    "Binomial": (Binomial(PIXEL, total_count=5), lambda h: stats.binom(5, expit(h[0])), 5),
    "Categorical": (Categorical(PIXEL, levels=7), lambda h: table(softmax(h)), 6),
    "ContinuousBernoulli": (
        ContinuousBernoulli(PIXEL),
        lambda h: Tilted(a=0, b=1, shapes="h")(h[0]),
        1,
    ),
    "DiscretizedLogistic": (
        DiscretizedLogistic(PIXEL, levels=16),
        lambda h: table(rounded(*h, 16)),
        15,
    ),
    "DiscretizedLogisticMixture": (
        DiscretizedLogisticMixture(PIXEL, components=3, levels=16),
        lambda h: mixed_logistics(h, 3, 16),
        15,
    ),
    "EachStep": (
        EachStep(PIXEL, step=learned(Normal(PIXEL[1:]), 0.5)),
        lambda h: stats.norm(h[0], 0.5),
        1,
    ),
    "HeteroscedasticNormal": (
        HeteroscedasticNormal(PIXEL),
        lambda h: stats.norm(h[0], 1e-3 + np.exp(h[1])),
        1,
    ),
    "Laplace": (learned(Laplace(PIXEL), 0.3), lambda h: stats.laplace(h[0], 0.3), 1),
    "LogNormal": (
        learned(LogNormal(PIXEL), 0.7),
        lambda h: stats.lognorm(0.7, scale=np.exp(h[0])),
        1,
    ),
    "Mixed": (learned(Mixed(PIXEL), 0.4), lambda h: stats.norm(h[0], 0.4), 1),
    "NegativeBinomial": (
        learned(NegativeBinomial(PIXEL), 2.5),
        lambda h: negative_binomial(np.exp(h[0]), 2.5),
        1,
    ),
    "Nominal": (Nominal(PIXEL, num_classes=4), lambda h: table(softmax(h)), 1),
    "Normal": (learned(Normal(PIXEL, per_pixel=True), 0.3), lambda h: stats.norm(h[0], 0.3), 1),
    "OptimalNormal": (OptimalNormal(PIXEL).eval(), lambda h: stats.norm(h[0], 1), 1),
    "Ordinal": (
        learned(Ordinal(PIXEL, num_classes=4), 0.6),
        lambda h: ordered(learned(Ordinal(PIXEL, num_classes=4), 0.6), h[0]),
        1,
    ),
    "Poisson": (Poisson(PIXEL), lambda h: stats.poisson(np.exp(h[0])), 1),
    "StudentT": (
        learned(StudentT(PIXEL, df=3.5), 0.8),
        lambda h: stats.t(3.5, h[0], 0.8),
        1,
    ),
    "ZeroInflatedNegativeBinomial": (
        learned(ZeroInflatedNegativeBinomial(PIXEL), 2.5),
        lambda h: dropped(np.exp(h[0]), 2.5, expit(h[1])),
        1,
    ),
}


def test_every_likelihood_has_an_exact_case():
    assert sorted({*CASES, *AUTOREGRESSIVE}) == likelihoods.__all__


@pytest.fixture(params=[(name, seed) for name in CASES for seed in range(3)], ids=str)
def case(request):
    """A likelihood at random parameters in float64, and its exact distribution."""
    name, seed = request.param
    part, exact_of, unit = CASES[name]
    part = part.double()
    h = 1.5 * np.random.default_rng(seed).normal(size=part.param_shape)
    return part, part(torch.as_tensor(h)), exact_of(h.ravel()), unit


def is_discrete(exact):
    return isinstance(exact, stats.rv_discrete) or isinstance(exact.dist, stats.rv_discrete)


def log_prob(p, x):
    """At numbers x (n,)."""
    with torch.no_grad():
        return p.log_prob(torch.as_tensor(x, dtype=torch.float64).reshape(-1, *PIXEL))


def test_the_log_density_is_the_known_one(case):
    _, p, exact, unit = case
    k = exact.ppf(np.linspace(0.001, 0.999, 29))
    known = exact.logpmf(k) if is_discrete(exact) else exact.logpdf(k)
    np.testing.assert_allclose(log_prob(p, k / unit), known, rtol=1e-9, atol=1e-9)


def test_the_probabilities_of_all_values_add_up_to_one(case):
    _, p, exact, unit = case
    if is_discrete(exact):
        k = np.arange(exact.ppf(1e-300), exact.ppf(1 - 1e-12) + 1)
        total = log_prob(p, k / unit).exp().sum().item()
    else:
        # Between quantiles that leave out 2e-4: ends are far away or, a Beta's, too steep for quad.
        q = exact.ppf([1e-4, 1e-2, 0.5, 1 - 1e-2, 1 - 1e-4])
        pieces = zip(q[:-1], q[1:], strict=True)
        total = 2e-4 + sum(
            integrate.quad(lambda x: log_prob(p, [x]).exp().item(), *ends)[0] for ends in pieces
        )
    assert total == pytest.approx(1, abs=1e-6)


def test_the_mean_is_the_known_one(case):
    part, p, exact, unit = case
    known = exact.pk.argmax() if isinstance(part, Nominal) else exact.mean() / unit
    assert p.mean.item() == pytest.approx(known, rel=1e-9, abs=1e-9)


def test_draws_have_the_known_distribution(case):
    """Their mean, and how many lie below three quantiles, within 5 standard errors."""
    _, p, exact, unit = case
    draws = p.sample((4000,))
    assert draws.dtype == torch.float64 and p.support.check(draws).all()
    k = (draws * unit).numpy().ravel()
    k = k.round() if is_discrete(exact) else k
    assert k.mean() == pytest.approx(exact.mean(), abs=5 * exact.std() / 4000**0.5 + 1e-9)
    for quantile in exact.ppf([0.1, 0.5, 0.9]):
        below = exact.cdf(quantile)
        error = (below * (1 - below) / 4000) ** 0.5
        assert (k <= quantile).mean() == pytest.approx(below, abs=5 * error + 1e-9)


def data_of(part, *leading, dtype=torch.float32):
    with torch.no_grad():
        return part(torch.zeros(*leading, *part.param_shape, dtype=dtype)).sample()


@pytest.mark.parametrize("likelihood", ALL)
def test_each_leading_index_stands_for_itself(likelihood):
    part = likelihood(X_SHAPE).double().eval()
    h = torch.randn(7, 5, *part.param_shape, dtype=torch.float64)
    x = data_of(part, 7, 5, dtype=torch.float64)
    p = part(h)
    log_p = p.log_prob(x)
    assert log_p.shape == (7, 5) and log_p.dtype == p.mean.dtype == torch.float64
    torch.testing.assert_close(log_p[2, 3], part(h[2, 3]).log_prob(x[2, 3]))
    torch.testing.assert_close(p.mean[2, 3], part(h[2, 3]).mean)
    torch.testing.assert_close(part(h[:, :1]).log_prob(x)[2, 3], part(h[2, 0]).log_prob(x[2, 3]))


@pytest.mark.parametrize("likelihood", ALL)
def test_pyro_may_expand_mask_and_take_events_of_it(likelihood):
    part = likelihood(X_SHAPE).eval()
    p, x = part(torch.zeros(5, *part.param_shape)), data_of(part, 5)
    wide = p.expand((4, 5))
    assert wide.batch_shape == (4, 5) and wide.event_shape == X_SHAPE
    assert wide.sample().shape == wide.mean.shape == (4, 5, *X_SHAPE)
    assert wide.sample((2,)).shape == (2, 4, 5, *X_SHAPE)
    torch.testing.assert_close(wide.log_prob(x)[3], p.log_prob(x))
    keep = torch.tensor([True, False, True, True, False])
    torch.testing.assert_close(p.mask(keep).log_prob(x), keep * p.log_prob(x))
    torch.testing.assert_close(p.to_event(1).log_prob(x), p.log_prob(x).sum())


@pytest.mark.parametrize("h", [-30.0, 30.0])
@pytest.mark.parametrize("likelihood", ALL)
def test_extreme_parameters_leave_values_and_gradients_finite_in_float32(likelihood, h):
    part = likelihood(X_SHAPE)
    full = torch.full((3, *part.param_shape), h)
    alternating = full * torch.randint(0, 2, full.shape).mul(2).sub(1)
    for extreme in (full, alternating):
        extreme.requires_grad_()
        log_p = part(extreme).log_prob(data_of(part, 3)).sum()
        gradients = torch.autograd.grad(
            log_p, [extreme, *(q for q in part.parameters() if q.requires_grad)]
        )
        assert log_p.isfinite() and all(gradient.isfinite().all() for gradient in gradients)
        assert part(extreme).support.check(part(extreme).sample()).all()


@pytest.mark.parametrize("likelihood", ALL)
def test_it_can_be_traced(likelihood):
    part = likelihood(X_SHAPE).eval()
    h, x = torch.randn(5, *part.param_shape), data_of(part, 5)
    with pyro.validation_enabled(False):
        traced = make_fx(lambda h, x: part(h).log_prob(x))(h, x)
        torch.testing.assert_close(traced(h + 1, x), part(h + 1).log_prob(x))


def test_a_bernoulli_takes_a_saved_ones_mean():
    saved, plain = Bernoulli((2,), torch.tensor([0.2, 0.9])), Bernoulli((2,))
    assert not plain.state_dict()
    part = Bernoulli((2,))
    part.load_state_dict(saved.state_dict())
    h = torch.randn(3, 2)
    assert torch.equal(part(h).mean, saved(h).mean)
    assert torch.equal(plain(h).mean, h.sigmoid())


def test_a_bernoulli_starts_at_the_mean_that_it_is_given():
    mean, h = torch.tensor([[0.0, 0.2, 0.5, 1.0], [0.0, 1.0, -2.0, 0.0]], dtype=torch.float64)
    p = Bernoulli((4,), mean)(h)
    odds = np.array([1 / 999, 0.25 * math.e, math.exp(-2), 999])
    np.testing.assert_allclose(p.mean, odds / (1 + odds), rtol=1e-12)


def test_values_off_the_grey_levels_are_outside_the_support():
    for part in (
        Binomial((1,)),
        Categorical((1,), levels=17),
        DiscretizedLogistic((1,), levels=17),
    ):
        with pyro.validation_enabled(), pytest.raises(ValueError, match="support"):
            part(torch.zeros(part.param_shape)).log_prob(torch.tensor([0.3]))
        p = part(torch.zeros(part.param_shape))
        assert p.support.check(torch.arange(17)[:, None] / 16).all()


def test_every_level_in_float32_is_the_one_that_it_rounds_to():
    """k / 100 * 100 falls short of k for two k, which must not become k - 1."""
    logits = torch.randn(101, 1)
    log_p = Categorical((1,), levels=101)(logits).log_prob(torch.arange(101)[:, None] / 100)
    torch.testing.assert_close(log_p, logits[:, 0].log_softmax(0))


def test_zero_and_one_are_outside_the_support_of_a_beta():
    p = Beta((1,))(torch.zeros(2, 1))
    assert p.support.check(torch.tensor([[0.0], [0.5], [1.0]])).tolist() == [False, True, False]


def test_a_continuous_bernoulli_is_smooth_at_zero_and_exact_beyond_sixteen():
    h = torch.tensor([0.0, 0.00999, 0.01001], dtype=torch.float64, requires_grad=True)
    p = ContinuousBernoulli(())(h)
    x = torch.tensor(0.3, dtype=torch.float64)
    log_norm = [0.0, *(math.log(math.expm1(t) / t) for t in h.tolist()[1:])]
    torch.testing.assert_close(p.log_prob(x), 0.3 * h - torch.tensor(log_norm, dtype=h.dtype))
    # The gradient of log p is x - E[x], and E[x] = 1/2 + h/12 to the third order.
    (gradient,) = torch.autograd.grad(p.log_prob(x).sum(), h)
    torch.testing.assert_close(gradient, x - p.mean)
    torch.testing.assert_close(p.mean, 0.5 + h / 12, atol=1e-8, rtol=0)
    far = ContinuousBernoulli(())(torch.tensor([-200.0, 200.0]))
    torch.testing.assert_close(far.mean, torch.tensor([1 / 200, 1 - 1 / 200]))
    torch.testing.assert_close(
        far.log_prob(torch.tensor([0.01, 0.99])), torch.full((2,), math.log(200) - 2)
    )
    u = torch.linspace(0, 0.999, 9, dtype=torch.float64)
    for t in (-2.0, 2.0):
        quantiles = ContinuousBernoulli(())(torch.tensor(t, dtype=torch.float64)).icdf(u)
        torch.testing.assert_close(quantiles, torch.log1p(u * math.expm1(t)) / t)
    draws = far.sample((4000,))[:, 0]  # exponential but for e^-200, with mean and deviation 1/200
    assert draws.mean().item() == pytest.approx(1 / 200, abs=5 / 200 / 4000**0.5)


def test_a_discretized_logistic_that_misses_far_keeps_the_right_gradient():
    """In float32 sigmoid(b) - sigmoid(a) is 0 there; far out log p falls by 1/scale per unit."""
    h = torch.tensor([[5.0], [-3.0]], requires_grad=True)
    log_p = DiscretizedLogistic((1,))(h).log_prob(torch.tensor([100 / 255]))
    (gradient,) = torch.autograd.grad(log_p, h)
    assert log_p.isfinite() and gradient[0].item() == pytest.approx(-math.exp(3), rel=1e-5)


def plain_colour_density(h, x, components, levels):
    """One pixel's p(x) as the paper has it, in loops."""
    y, n, total = 2 * x - 1, levels - 1, 0.0
    weights = softmax(h[:components])
    for m, (r, g, b, *rest) in enumerate(h[components:].reshape(components, 9)):
        log_scale, (alpha, beta, gamma) = rest[:3], np.tanh(rest[3:])
        locs = r, g + alpha * y[0], b + beta * y[0] + gamma * y[1]
        probs = [rounded(*one, levels) for one in zip(locs, log_scale, strict=True)]
        k = np.rint(x * n).astype(int)
        total += weights[m] * math.prod(p[j] for p, j in zip(probs, k, strict=True))
    return total


def test_a_colour_mixture_is_the_density_of_the_paper_and_sums_to_one_over_all_colours():
    part = DiscretizedLogisticMixture((3, 1, 1), components=2, levels=4)
    assert part.param_shape == (20, 1, 1)
    h = np.random.default_rng(0).normal(size=20)
    colours = np.array(np.meshgrid(*3 * [np.arange(4) / 3])).reshape(3, -1).T  # (64, 3)
    p = part(torch.as_tensor(h).reshape(20, 1, 1))
    found = p.log_prob(torch.as_tensor(colours)[..., None, None]).exp()
    known = [plain_colour_density(h, x, 2, 4) for x in colours]
    np.testing.assert_allclose(found, known, rtol=1e-10)
    assert found.sum().item() == pytest.approx(1, abs=1e-12)

    draws = p.sample((20_000,)).squeeze()
    codes = (draws * 3).round() @ torch.tensor([16.0, 4.0, 1.0], dtype=torch.float64)
    counts = torch.bincount(codes.long(), minlength=64).numpy()
    order = np.rint(colours * 3) @ [16, 4, 1]
    expected = 20_000 * np.array(known)[np.argsort(order)]
    often = expected > 5
    chi = ((counts - expected)[often] ** 2 / expected[often]).sum()
    assert chi < stats.chi2(often.sum()).ppf(1 - 1e-6)
    first = (found[:, None] * torch.as_tensor(colours)).sum(0)[0]
    assert p.mean.flatten()[0].item() == pytest.approx(first.item())


def test_the_means_of_later_channels_are_exact_where_nothing_is_clipped():
    """Narrow components in the middle: E[y_2] = loc_2 + a E[y_1], to a thousandth of a level."""
    part = DiscretizedLogisticMixture((2, 1, 1), components=1)
    h = torch.tensor([0.0, 0.1, -0.2, -4.0, -4.0, 0.5], dtype=torch.float64).reshape(6, 1, 1)
    second = -0.2 + math.tanh(0.5) * 0.1
    assert part(h).mean.flatten().tolist() == pytest.approx([0.55, (second + 1) / 2], abs=4e-6)


def test_the_pixels_of_a_mixture_are_independent():
    part = DiscretizedLogisticMixture((3, 2, 2), components=2, levels=5)
    h, x = torch.randn(part.param_shape), data_of(part)
    pixel = DiscretizedLogisticMixture((3, 1, 1), components=2, levels=5)
    parts = [
        pixel(h[:, i : i + 1, j : j + 1]).log_prob(x[:, i : i + 1, j : j + 1])
        for i in range(2)
        for j in range(2)
    ]
    torch.testing.assert_close(part(h).log_prob(x), sum(parts))


def test_zero_inflation_keeps_its_logits_after_a_mean_and_a_draw():
    """Pyro's own is -inf here in float32, since sigmoid(30) rounds to 1."""
    p = ZeroInflatedNegativeBinomial((1,))(torch.tensor([[0.0], [30.0]]))
    assert p.mean.isfinite() and p.sample().isfinite()
    # NB(3; mu = 1, theta = 1) = 2^-4, and 1 - gate = e^-30.
    assert p.log_prob(torch.tensor([3.0])).item() == pytest.approx(-30 - 4 * math.log(2), rel=1e-6)


def test_the_classes_of_an_ordinal_begin_equally_probable():
    part = Ordinal((2,), num_classes=5)
    log_p = part(torch.zeros(2)).log_prob(torch.arange(5.0)[:, None].expand(5, 2))
    torch.testing.assert_close(log_p, torch.full((5,), -2 * math.log(5)))


class TestOptimalNormal:
    def test_no_other_scale_fits_the_batch_better(self):
        h, x = torch.randn(2, 30, 4, dtype=torch.float64)
        total = OptimalNormal((4,)).double()(h).log_prob(x).sum().item()
        fitted = stats.norm.fit((x - h).numpy().ravel(), floc=0)[1]
        assert total == pytest.approx(stats.norm(h, fitted).logpdf(x).sum())
        for other in (0.98 * fitted, 1.02 * fitted):
            assert total > stats.norm(h, other).logpdf(x).sum()

    def test_its_gradient_is_that_of_the_log_mean_squared_error(self):
        h, x = torch.randn(2, 30, 4, dtype=torch.float64)
        h.requires_grad_()
        (found,) = torch.autograd.grad(OptimalNormal((4,))(h).log_prob(x).sum(), h)
        (known,) = torch.autograd.grad(-60 * (x - h).square().mean().log(), h)
        torch.testing.assert_close(found, known)

    def test_it_keeps_a_running_mean_for_evaluation(self):
        part = OptimalNormal((4,), momentum=0.25).double()
        h, x = torch.zeros(1, 4, dtype=torch.float64), torch.full((1, 4), 3.0, dtype=torch.float64)
        part(h).log_prob(x)
        assert part.mean_square.item() == pytest.approx(0.75 * 1 + 0.25 * 9)
        part.eval()
        assert part(h).log_prob(x).item() == pytest.approx(4 * stats.norm(0, 3**0.5).logpdf(3))
        assert part.mean_square.item() == pytest.approx(3)

    def test_a_captured_step_keeps_it_too(self):
        x, kept = 0.1 * torch.randn(50, 4), []
        for compile in (False, Compile(mode="captured")):
            pyro.set_rng_seed(1)
            vae = VAE((4,), 2, likelihood=OptimalNormal((4,)), hidden=(8,))
            optim = pyro.optim.Adam({"lr": 1e-2})
            svi = SVI(vae.model, vae.guide, optim, Trace_ELBO(), compile=compile)
            for _ in range(100):
                svi.step(x)
            kept.append(vae.likelihood.mean_square.sqrt().item())
        assert kept[0] == pytest.approx(kept[1], rel=1e-3) and 0.05 < kept[0] < 0.2


COLUMNS = (
    lambda: Normal((2,), scale=0.5),
    lambda: Nominal((1,), num_classes=3),
    lambda: LogNormal((1,)),
    lambda: Poisson((2,)),
    lambda: Ordinal((1,), num_classes=4),
    lambda: Beta((1,)),
    lambda: Binomial((1,), total_count=4),
)


class TestMixed:
    @pytest.fixture
    def parts(self):
        """The columns, the table of them, and parameters and data of each column."""
        columns = [column().double() for column in COLUMNS]
        hs = [torch.randn(6, *c.param_shape, dtype=torch.float64) for c in columns]
        xs = [c(h).sample() for c, h in zip(columns, hs, strict=True)]
        return columns, Mixed((9,), columns=columns), hs, xs

    @staticmethod
    def joined(ts):
        return torch.cat([t.flatten(1) for t in ts], -1)

    def test_its_density_is_the_product_of_its_columns(self, parts):
        columns, part, hs, xs = parts
        p = part(self.joined(hs))
        known = sum(c(h).log_prob(x) for c, h, x in zip(columns, hs, xs, strict=True))
        torch.testing.assert_close(p.log_prob(self.joined(xs)), known)
        means = [c(h).mean for c, h in zip(columns, hs, strict=True)]
        torch.testing.assert_close(p.mean, self.joined(means))
        assert p.support.check(p.sample((3,))).all() and p.sample((3,)).shape == (3, 6, 9)

    def test_a_missing_entry_leaves_the_others_and_every_gradient(self, parts):
        columns, part, hs, xs = parts
        x = self.joined(xs)
        x[0] = torch.nan  # a whole row
        x[1, 2:] = torch.nan
        x[2, :2] = torch.nan
        h = self.joined(hs).requires_grad_()
        log_p = part(h).log_prob(x)
        known = [c(h_).log_prob(x_) for c, h_, x_ in zip(columns, hs, xs, strict=True)]
        assert log_p[0] == 0
        torch.testing.assert_close(log_p[1], known[0][1])
        torch.testing.assert_close(log_p[2], sum(known[1:])[2])
        learned = [q for q in part.parameters() if q.requires_grad]
        gradient, *others = torch.autograd.grad(log_p.sum(), [h, *learned])
        assert (gradient[0] == 0).all() and (gradient[1, 2:] == 0).all()
        assert gradient.isfinite().all() and all(g.isfinite().all() for g in others)

    def test_its_support_asks_each_column_and_accepts_what_is_missing(self, parts):
        _, part, hs, xs = parts
        with pyro.validation_enabled():
            entries, x = part(self.joined(hs)).base_dist, self.joined(xs)
        x[0] = torch.nan
        assert entries.support.check(x).all()
        bad = x.clone()
        bad[1] = torch.tensor([9.0, -9.0, 3.0, -1.0, 0.5, 2.0, 1.5, 1.0, 0.3])
        good = [True, True, False, False, False, True, False, False, False]
        assert entries.support.check(bad)[1].tolist() == good
        with pyro.validation_enabled(), pytest.raises(ValueError, match="support"):
            entries.log_prob(bad)

    def test_it_can_be_traced_with_entries_missing(self, parts):
        _, part, hs, xs = parts
        h, x = self.joined(hs), self.joined(xs)
        with pyro.validation_enabled(False):
            traced = make_fx(lambda h, x: part(h).log_prob(x))(h, x)
            x[2] = torch.nan
            torch.testing.assert_close(traced(h, x), part(h).log_prob(x))
            assert traced(h, x)[2] == 0

    def test_without_columns_all_are_normal_with_a_scale_each(self):
        part = Mixed((3,))
        assert part.param_shape == (3,) and sum(q.numel() for q in part.parameters()) == 3


@pytest.mark.parametrize(
    "build, sentence",
    [
        (lambda: Bernoulli((2,), torch.zeros(3)), r"mean has shape \(3,\).*data's shape, \(2,\)"),
        (lambda: Bernoulli((1,), torch.tensor([1.5])), r"lies in \[1.5, 1.5\], but .* in \[0, 1\]"),
        (lambda: Bernoulli((1,), torch.tensor([math.nan])), r"lies in \[nan, nan\], but"),
        (lambda: Binomial((1,), total_count=0), "total_count must be at least 1, but is 0"),
        (lambda: Categorical((1,), levels=1), "levels must be at least 2, but is 1"),
        (lambda: DiscretizedLogistic((1,), levels=1), "levels must be at least 2, but is 1"),
        (lambda: DiscretizedLogisticMixture((8, 8)), r"x_shape is \(8, 8\), but .* images"),
        (lambda: DiscretizedLogisticMixture((1, 8, 8), components=0), "components .* but is 0"),
        (lambda: DiscretizedLogisticMixture((1, 8, 8), levels=1), "levels .* but is 1"),
        (lambda: HeteroscedasticNormal((1,), min_scale=0), "min_scale .* but is 0"),
        (lambda: Normal((1,), scale=0), "the scale of a Normal must be positive .* but is 0"),
        (lambda: Laplace((1,), scale=-1), "the scale of a Laplace .* but is -1"),
        (lambda: LogNormal((1,), scale=math.inf), "the scale of a LogNormal .* but is inf"),
        (lambda: StudentT((1,), scale=math.nan), "the scale of a StudentT .* but is nan"),
        (lambda: StudentT((1,), df=1), "df must be above 1 .* but is 1"),
        (lambda: Normal((1,), scale=2, per_pixel=True), "cannot both fix its scale at 2 and learn"),
        (lambda: OptimalNormal((1,), momentum=0), "momentum .* but is 0"),
        (lambda: OptimalNormal((1,), min_scale=-1), "min_scale .* but is -1"),
        (lambda: Nominal((1,), num_classes=1), "num_classes must be at least 2, but is 1"),
        (lambda: Ordinal((1,), num_classes=1), "num_classes must be at least 2, but is 1"),
        (lambda: Mixed((3,), columns=[Normal((2,))]), r"have \[2\] entries, 2 in all.*\(3,\)"),
        (lambda: Mixed((0,), columns=[]), "give each entry one column"),
        (lambda: Mixed((2,), columns=[OptimalNormal((2,))]), "OptimalNormal has no density for"),
        (
            lambda: Mixed((4,), columns=[DiscretizedLogisticMixture((1, 2, 2))]),
            "DiscretizedLogisticMixture has no density for each entry",
        ),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_the_steps_of_a_sequence_are_independent_and_share_what_is_learned():
    step = learned(Normal((2,)), 0.5)
    likelihood = EachStep((3, 2), step=step)
    h, x = (torch.randn(5, 3, 2, dtype=torch.float64) for _ in range(2))
    p = likelihood(h)
    assert p.batch_shape == (5,) and p.event_shape == (3, 2)
    by_hand = sum(step(h[:, t]).log_prob(x[:, t]) for t in range(3))
    torch.testing.assert_close(p.log_prob(x), by_hand)
    assert [p.shape for p in likelihood.parameters()] == [()]
    with pytest.raises(ValueError, match=r"step's x_shape is \(4,\), .* needs \(2,\)"):
        EachStep((3, 2), step=Normal((4,)))
    with pytest.raises(ValueError, match="a sequence needs a first dimension"):
        EachStep(())
