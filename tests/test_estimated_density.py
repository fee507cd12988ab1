"""A prior known by an estimate of a bound: what is linear in log p takes it, others refuse it."""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch.distributions import kl_divergence

from pyro_vae import check
from pyro_vae.distributions import EstimatedDensity, is_estimated
from pyro_vae.inference import (
    DIPVAE_I,
    DIPVAE_II,
    IWAE,
    MMD,
    STL,
    SVI,
    Compile,
    ScoreFunction,
    TotalCorrelation,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
    compare,
    evaluate,
    linear,
    log_likelihood,
    sample,
)
from pyro_vae.inference.terms import closed_kl

from .lone_estimators import lone_estimators

LINEAR = (MMD, STL, ScoreFunction, TotalCorrelation, TraceMeanField_ELBO, Trace_ELBO)
LINEAR += (DIPVAE_I, DIPVAE_II)
ALL = lone_estimators()
N, LOC, SCALE = 5_000, 0.4, 0.7
X = torch.full((N,), 0.9, dtype=torch.float64)
# The guide of the prior's own latent u, off the posterior N(z / 3, 2 / 3).
SHIFT, WIDTH = 0.2, 0.6


class Chain(EstimatedDensity):
    """u ~ N(0, 1), z ~ N(u, 2): log_prob is the ELBO of one draw of u ~ N(z / 3 + shift, width).

    The variances are 1, 2 and width. Its mean is log N(z; 0, 3) less the KL of the two posteriors,
    which does not depend on z.
    """

    support = dist.constraints.real

    def sample(self, sample_shape=()):
        return math.sqrt(3) * torch.randn(sample_shape, dtype=torch.float64)

    def log_prob(self, z):
        q = dist.Normal(z / 3 + SHIFT, math.sqrt(WIDTH))
        u = q.rsample()
        log_p = dist.Normal(0.0, 1.0).log_prob(u) + dist.Normal(u, math.sqrt(2)).log_prob(z)
        return log_p - q.log_prob(u)


LOOSE = kl_divergence(
    dist.Normal(SHIFT, math.sqrt(WIDTH)), dist.Normal(0.0, math.sqrt(2 / 3))
).item()


def program(prior=None, posterior=None, likelihood=None):
    """z ~ chain, x ~ N(z, 1); the guide is N(loc, scale)."""
    loc = torch.tensor(LOC, dtype=torch.float64, requires_grad=True)

    def model(x):
        with pyro.plate("data", len(x)):
            p = prior or Chain().expand([1]).to_event(1)
            z = pyro.sample("z", p).squeeze(-1)
            pyro.sample("x", dist.Normal(z, 1.0) if likelihood is None else likelihood(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            q = posterior or dist.Normal(loc.expand(len(x), 1), SCALE).to_event(1)
            pyro.sample("z", q)

    return SimpleNamespace(model=model, guide=guide, loc=loc)


# The ELBO of each datum with the exact marginal N(0, 3), less what the prior's own bound costs.
Q = dist.Normal(LOC, SCALE)
EXPECTED_LOG_PX = dist.Normal(LOC, 1.0).log_prob(torch.tensor(0.9)).item() - SCALE**2 / 2
TRUTH = EXPECTED_LOG_PX - kl_divergence(Q, dist.Normal(0.0, math.sqrt(3))).item() - LOOSE
SLOPE = (0.9 - LOC) - LOC / 3  # of the bound in loc
ERROR = 5 * 2.5 / math.sqrt(N)  # a draw of the bound, or of its gradient, deviates by less than 2.5


@pytest.mark.parametrize(
    "estimator",
    [
        Trace_ELBO(),
        Trace_ELBO(3),
        Trace_ELBO(3, vectorize_particles=True),
        TraceMeanField_ELBO(),
        STL(),
        ScoreFunction(),
        pyro.infer.Trace_ELBO(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_mean_of_the_bound_and_its_gradient_are_the_analytic_ones(estimator):
    pyro.set_rng_seed(0)
    each = program()
    loss = estimator.differentiable_loss(each.model, each.guide, X)
    assert -loss.item() / N == pytest.approx(TRUTH, abs=ERROR)
    (gradient,) = torch.autograd.grad(loss, each.loc)
    assert -gradient.item() / N == pytest.approx(SLOPE, abs=2 * ERROR)


@pytest.mark.parametrize("estimator", [MMD(alpha=0.0, lambda_=1.0), TotalCorrelation(beta=1.0)])
def test_the_elbo_as_a_case_of_others_is_the_analytic_one_too(estimator):
    pyro.set_rng_seed(0)
    x, each = X[:300], program()
    with torch.no_grad():
        values = [-estimator.loss(each.model, each.guide, x) / len(x) for _ in range(10)]
    assert sum(values) / 10 == pytest.approx(TRUTH, abs=5 * 2.5 / math.sqrt(3000))


def test_evaluate_finds_the_analytic_bound():
    pyro.set_rng_seed(0)
    assert evaluate(program(), X).bound.mean().item() == pytest.approx(TRUTH, abs=ERROR)


@pytest.mark.parametrize("estimator", ALL)
def test_an_estimator_takes_it_if_it_is_linear_in_log_p(estimator):
    each, x = program(), X[:8]
    if estimator in LINEAR:
        assert math.isfinite(estimator().loss(each.model, each.guide, x))
        return
    sentence = f"{estimator.__name__} is not linear in log p, but that of site 'z' .*Chain.*use"
    with pytest.raises(ValueError, match=sentence):
        estimator().loss(each.model, each.guide, x)


@pytest.mark.parametrize(
    "estimator",
    [
        IWAE(4, chunk_size=2),
        IWAE(1),
        Trace_ELBO(free_bits=0.1),
        Trace_ELBO(capacity=linear(0, 5, 10)).at(3),
        TraceMeanField_ELBO(capacity=1.0),
        TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_bends_the_kl_or_the_weights_refuses_it(estimator):
    each = program()
    with pytest.raises(ValueError, match="is not linear in log p"):
        estimator.loss(each.model, each.guide, X[:8])


def test_the_likelihood_of_the_weights_refuses_it():
    with pytest.raises(ValueError, match="log_likelihood is not linear in log p"):
        log_likelihood(program(), X[:8], 5)


def test_a_formula_of_a_users_own_is_taken_for_linear_if_it_says_so():
    @dataclass(frozen=True)
    class Half(Trace_ELBO):
        def objective(self, t):
            return super().objective(t) / 2

    @dataclass(frozen=True)
    class Said(Half):
        is_linear = True

    each = program()
    with pytest.raises(ValueError, match="Half is not linear in log p"):
        Half().loss(each.model, each.guide, X[:8])
    assert math.isfinite(Said().loss(each.model, each.guide, X[:8]))


def test_check_refuses_what_pyros_own_estimators_would_take():
    for loss in (pyro.infer.RenyiELBO(num_particles=2), IWAE(2)):
        with pytest.raises(ValueError, match="is not linear in log p"):
            check(program(), X[:8], loss)
    assert check(program(), X[:8], pyro.infer.Trace_ELBO()).loss


def test_a_comparison_has_the_sentence_in_the_row():
    rows = compare(
        program(), X[:8], [Trace_ELBO(), IWAE()], num_particles=(2,), repeats=3, progress=False
    ).rows
    assert rows[0].refusal is None and "IWAE is not linear in log p" in rows[1].refusal


def test_an_estimated_posterior_is_refused_by_all():
    each = program(
        dist.Normal(torch.zeros(1).double(), 1.0).to_event(1), Chain().expand([8, 1]).to_event(1)
    )
    for run in (
        lambda: Trace_ELBO().loss(each.model, each.guide, X[:8]),
        lambda: evaluate(each, X[:8]),
    ):
        with pytest.raises(ValueError, match="takes log q off, but that of site 'z' of the guide"):
            run()


def test_an_estimated_likelihood_makes_a_bound_of_a_bound():
    """x = y + z with y from the chain, which makes a log p(x | z) of log N(x - z; 0, 3)."""

    class Shifted(Chain):
        def __init__(self, z):
            self.z = z
            super().__init__(z.shape)

        def log_prob(self, x):
            return super().log_prob(x - self.z)

    prior = dist.Normal(torch.zeros(1).double(), 1.0).to_event(1)
    each = program(prior, likelihood=Shifted)
    pyro.set_rng_seed(0)
    found = -Trace_ELBO().loss(each.model, each.guide, X) / N
    log_px = dist.Normal(LOC, math.sqrt(3)).log_prob(torch.tensor(0.9)).item() - SCALE**2 / 6
    truth = log_px - LOOSE - kl_divergence(Q, dist.Normal(0.0, 1.0)).item()
    assert found == pytest.approx(truth, abs=ERROR)
    with pytest.raises(ValueError, match="that of site 'x' of the model"):
        IWAE(2).loss(each.model, each.guide, X[:8])


def test_no_closed_kl_is_taken_of_it():
    class Formula(Chain, dist.Normal):  # for which torch would find one
        def __init__(self):
            dist.Normal.__init__(self, torch.zeros(2), 1.0)

    assert closed_kl(dist.Normal(torch.zeros(2), 2.0), Formula()) is None
    assert closed_kl(dist.Normal(torch.zeros(2), 2.0).to_event(1), Formula().to_event(1)) is None


def test_it_is_found_behind_what_wraps_it():
    chain = Chain().expand([4])
    mixture = dist.MaskedMixture(torch.ones(4) > 0, dist.Normal(torch.zeros(4), 1.0), chain)
    moved = dist.TransformedDistribution(chain, [dist.transforms.AffineTransform(0.0, 2.0)])
    for fn in (chain, chain.to_event(1), chain.mask(False), moved, mixture):
        assert is_estimated(fn)
    assert not is_estimated(dist.Normal(0.0, 1.0).expand([2]).to_event(1))


def test_a_captured_step_is_the_eager_one():
    losses = []
    for compile in (False, Compile(fuse=False)):
        each = program()
        svi = SVI(each.model, each.guide, pyro.optim.Adam({"lr": 0.01}), compile=compile)
        pyro.set_rng_seed(1)
        losses.append([svi.step(X[:16]).item() for _ in range(6)])
    assert svi.mode == "captured" and losses[0] == losses[1]


def test_its_samples_are_drawn_although_its_density_is_noisy():
    pyro.set_rng_seed(0)
    x = sample(program(), 4000, ())
    assert x.var().item() == pytest.approx(3.0, rel=5 * math.sqrt(2 / 4000))
