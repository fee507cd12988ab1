"""Whose support parameters move: the score of such a guide has no mean of zero."""

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import transforms as tr

from pyro_vae.inference import (
    CIWAE,
    IWAE,
    MIWAE,
    MMD,
    PIWAE,
    STL,
    VIMCO,
    DReG,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    Trace_ELBO,
    TraceMeanField_ELBO,
)
from pyro_vae.inference.terms import parameters_move


def param(*shape, value=0.7):
    return torch.full(shape, value, requires_grad=True)


def changed(base, *transforms):
    return dist.TransformedDistribution(base, list(transforms))


ZERO, ONE = torch.zeros(()), torch.ones(())
UNIT = dist.Uniform(ZERO, ONE)
LOGIT = tr.SigmoidTransform().inv

MOVED = {
    "a point": dist.Delta(param(3)),
    "a point of a density": dist.Delta(ZERO, log_density=param()),
    "points as one": dist.Delta(param(3)).to_event(1),
    "a masked point": dist.Delta(param(3)).mask(torch.tensor(True)),
    "an expanded point": dist.Delta(param()).expand([3]),
    "a point taken elsewhere": changed(dist.Delta(param()), tr.ExpTransform()),
    "both ends": dist.Uniform(param() - 1, param() + 1),
    "one end": dist.Uniform(ZERO, param()),
    "many ends": dist.Uniform(param(3) - 1, param(3) + 1).to_event(1),
    "ends as masked": dist.Uniform(ZERO, param()).expand([3]).mask(False),
    "the scale of a Pareto": dist.Pareto(param(), ONE),
    "a Beta between ends": dist.AffineBeta(ONE, ONE, ZERO, param()),
    "a shifted Uniform": changed(UNIT, tr.AffineTransform(param(), 2.0)),
    "a scaled Uniform": changed(UNIT, tr.AffineTransform(0.0, param())),
    "scaled within": changed(UNIT, tr.ComposeTransform([tr.AffineTransform(0.0, param())])),
    "a shifted Exponential": changed(dist.Exponential(ONE), tr.AffineTransform(param(), 1.0)),
    "a Normal squeezed": changed(
        dist.Normal(ZERO, ONE), tr.SigmoidTransform(), tr.AffineTransform(param(), 1.0)
    ),
    "a bijection to moved ends": changed(
        dist.Normal(ZERO, ONE),
        torch.distributions.biject_to(torch.distributions.constraints.interval(ZERO, param())),
    ),
    "a mixture": dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Uniform(param(2) - 1, param(2) + 1)
    ),
    "one of two": dist.MaskedMixture(
        torch.tensor(True), dist.Normal(ZERO, ONE), dist.Uniform(ZERO, param())
    ),
}
STILL = {
    "a fixed point": dist.Delta(ZERO),
    "a Normal": dist.Normal(param(), param()),
    "an event": dist.Normal(param(3), param(3)).to_event(1),
    "a full covariance": dist.MultivariateNormal(param(2), torch.eye(2)),
    "fixed ends": UNIT,
    "weights of a choice": dist.Categorical(logits=param(4)),
    "a Bernoulli": dist.Bernoulli(param()),
    "a Beta": dist.Beta(param(), param()),
    "a Gamma": dist.Gamma(param(), param()),
    "a Dirichlet": dist.Dirichlet(param(3)),
    "a HalfNormal": dist.HalfNormal(param()),
    "a LogNormal": dist.LogNormal(param(), param()),
    "a Gumbel": dist.Gumbel(param(), param()),
    "a Weibull": dist.Weibull(param(), param()),
    "a Kumaraswamy": dist.Kumaraswamy(param(), param()),
    "a relaxed choice": dist.RelaxedOneHotCategorical(ONE, logits=param(3)),
    "a Logistic of its own": dist.Logistic(param(), param()),
    "a Logistic by hand": changed(UNIT, LOGIT, tr.AffineTransform(param(), param())),
    "a Gumbel by hand": changed(
        UNIT,
        tr.ExpTransform().inv,
        tr.AffineTransform(0.0, -1.0),
        tr.ExpTransform().inv,
        tr.AffineTransform(param(), param()),
    ),
    "a scaled half": changed(dist.Exponential(ONE), tr.AffineTransform(0.0, param())),
    "a power": changed(UNIT, tr.PowerTransform(param())),
    "a Uniform between fixed ends": changed(UNIT, tr.AffineTransform(torch.ones(3), 2.0)),
    "a Normal between fixed ends": changed(
        dist.Normal(param(), param()), tr.SigmoidTransform(), tr.AffineTransform(1.0, 2.0)
    ),
    "a flow": changed(
        dist.Normal(param(3), ONE).to_event(1), dist.transforms.affine_autoregressive(3)
    ),
    "a Normal shifted": changed(dist.Normal(ZERO, ONE), tr.AffineTransform(param(), param())),
    "a mixture": dist.MixtureSameFamily(
        dist.Categorical(logits=param(2)), dist.Normal(param(2), 1.0)
    ),
}


@pytest.mark.parametrize("name", MOVED)
def test_parameters_move_this_support(name):
    assert parameters_move(MOVED[name])


@pytest.mark.parametrize("name", STILL)
def test_they_do_not_move_this_one(name):
    assert not parameters_move(STILL[name])


# What the estimators do with such guides. Their K particles are all at the point, or in the box.

X = torch.tensor([0.4, -1.0, 0.9])
ELBOS = [Trace_ELBO(), TraceMeanField_ELBO()]
BOUNDS = [IWAE(3), CIWAE(3), MIWAE(4, groups=2), PIWAE(4, groups=2), Renyi(3)]
REFUSING = [DReG(3), ScoreFunction(2), VIMCO(3), ReweightedWakeSleep(3)]


def program(loc, q):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc.expand(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", q(len(x)))

    return model, guide


@pytest.mark.parametrize("estimator", [*ELBOS, STL(), *BOUNDS, MMD(alpha=0.0, lambda_=1.0)])
def test_a_point_gets_the_gradient_of_log_p(estimator):
    point, loc = param(value=1.5), param(value=0.2)
    model, guide = program(loc, lambda size: dist.Delta(point.expand(size)))
    loss = estimator.differentiable_loss(model, guide, X)
    at_point, at_loc = torch.autograd.grad(loss, (point, loc))
    # -log p is sum_i (z - loc)^2 / 2 + (x_i - z)^2 / 2.
    assert at_point.item() == pytest.approx(3 * (1.5 - 0.2) + 3 * 1.5 - X.sum().item(), rel=1e-5)
    assert at_loc.item() == pytest.approx(3 * (0.2 - 1.5), rel=1e-5)


@pytest.mark.parametrize("estimator", REFUSING)
def test_a_point_is_refused_where_its_score_is_asked_for(estimator):
    point = param(value=1.5)
    model, guide = program(param(value=0.2), lambda size: dist.Delta(point.expand(size)))
    sentence = f"{type(estimator).__name__} needs a guide .* move the point of site 'z'; use Trace"
    with pytest.raises(ValueError, match=sentence):
        estimator.loss_and_grads(model, guide, X)
    with torch.no_grad():
        assert math.isfinite(estimator.loss(model, guide, X))


@pytest.mark.parametrize("estimator", [*ELBOS, *BOUNDS[:1]])
def test_a_box_gets_the_gradient_of_the_bound_over_it(estimator):
    """E over z in m +- s of log p(x, z) is -(m^2 + s^2 / 3) / 2 - ((m - x)^2 + s^2 / 3) / 2 + c."""
    estimator = replace(estimator, num_particles=1)
    size, x = 100_000, 0.9
    m, s = param(value=0.3), param(value=0.8)
    model, guide = program(torch.zeros(()), lambda n: dist.Uniform(m - s, m + s).expand([n]))
    pyro.set_rng_seed(0)
    loss = estimator.differentiable_loss(model, guide, torch.full((size,), x))
    at_m, at_s = (g.item() / size for g in torch.autograd.grad(loss, (m, s)))
    # The deviations of one datum's gradient are below 2, so that 4 errors are 0.025.
    assert at_m == pytest.approx(2 * 0.3 - x, abs=0.025)
    assert at_s == pytest.approx(2 * 0.8 / 3 - 1 / 0.8, abs=0.025)


@pytest.mark.parametrize("estimator", [STL(), *REFUSING])
def test_a_box_is_refused_where_its_score_is_asked_for(estimator):
    m = param()
    model, guide = program(torch.zeros(()), lambda n: dist.Uniform(m - 1, m + 1).expand([n]))
    with pytest.raises(ValueError, match="parameters move the support of site 'z'; use Trace_ELBO"):
        estimator.loss_and_grads(model, guide, X)


def test_a_box_without_rsample_is_refused_by_the_score_function_of_trace_elbo():
    m = param()
    q = lambda n: dist.Uniform(m - 1, m + 1).expand([n]).has_rsample_(False)  # noqa: E731
    with pytest.raises(ValueError, match="Trace_ELBO needs a guide whose draws have the same sup"):
        Trace_ELBO().loss_and_grads(*program(torch.zeros(()), q), X)


@pytest.mark.parametrize("estimator", [STL(), *REFUSING])
def test_a_box_around_an_earlier_draw_is_no_box_that_parameters_move(estimator):
    m = param()

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("u", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(m, 1.0))
            pyro.sample("z", dist.Uniform(u - 1, u + 1))

    assert math.isfinite(estimator.loss_and_grads(model, guide, X))


@pytest.mark.parametrize("estimator", [STL(), DReG(2), ScoreFunction(2), VIMCO(2)])
def test_a_flow_without_an_inverse_is_refused_where_draws_are_held(estimator):
    flow = dist.transforms.planar(2)

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def guide(x):
        with pyro.plate("data", len(x)):
            base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [flow]))

    with pytest.raises(ValueError, match="the flow of site 'z' has no inverse, .* use Trace_ELBO"):
        estimator.loss_and_grads(model, guide, X)
    assert math.isfinite(IWAE(2).loss_and_grads(model, guide, X))
