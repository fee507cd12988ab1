"""Training factors: weighed by the estimator, climbed in expectation, and judged by nobody."""

import copy
import math
from functools import partial
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from pyro_vae import check, training_factor
from pyro_vae.app.text import read_loss
from pyro_vae.inference import (
    IWAE,
    MMD,
    SVI,
    VIMCO,
    Compile,
    DReG,
    ReweightedWakeSleep,
    ScoreFunction,
    TotalCorrelation,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
    compare,
    constant,
    evaluate,
    fit,
    linear,
    log_likelihood,
)
from pyro_vae.models import VAE

from .lone_estimators import lone_estimators

ALL = lone_estimators()
PAIRS = (MMD, TotalCorrelation)  # which compare each draw with each
N, K, LOC, SCALE = 5_000, 4, 0.3, 0.8
X = torch.full((N,), 0.5, dtype=torch.float64)


class Stated:
    """z ~ N(0, 1), x ~ N(z, 1), guide N(loc, scale), and -(z - a)^2 as a training factor.

    Its mean under the guide is -((loc - a)^2 + scale^2).

    Args:
        where: The part that states the factor, "model", "guide", or None.
        inside: Whether it stands in the data plate, else the mean over the data outside it.
        one_row: Whether the model takes one batch dimension and no more.
        full_size: Of the data plate.
    """

    def __init__(self, where="model", *, inside=True, one_row=False, full_size=None, a=1.0):
        self.where, self.inside, self.one_row, self.full_size = where, inside, one_row, full_size
        numbers = {"loc": LOC, "scale": SCALE, "a": a}
        self.numbers = nn.ParameterDict(
            {
                name: nn.Parameter(torch.tensor(v, dtype=torch.float64))
                for name, v in numbers.items()
            }
        )

    def plate(self, x):
        rows = None if self.full_size is None else torch.arange(len(x))
        return pyro.plate("data", self.full_size or len(x), subsample=rows)

    def state(self, where, z):
        value = -(z - self.numbers["a"]).square().sum(-1)
        if self.where == where:
            value = value if self.inside else value.mean(-1, keepdim=True)
            training_factor("f", value, guide=where == "guide")

    def model(self, x):
        with self.plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            if self.one_row and z.dim() != 2:
                raise ValueError("one batch dimension alone")
            pyro.sample("x", dist.Normal(z.squeeze(-1), 1.0), obs=x)
            if self.inside:
                self.state("model", z)
        if not self.inside:
            self.state("model", z)

    def guide(self, x):
        with self.plate(x):
            q = dist.Normal(self.numbers["loc"], self.numbers["scale"])
            z = pyro.sample("z", q.expand([len(x), 1]).to_event(1))
            if self.inside:
                self.state("guide", z)
        if not self.inside:
            self.state("guide", z)


def found(estimator, program, x=X, seed=0):
    """The loss and its gradient in loc, scale and a."""
    pyro.set_rng_seed(seed)
    loss = estimator.differentiable_loss(program.model, program.guide, x)
    parameters = [program.numbers[name] for name in ("loc", "scale", "a")]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.stack([loss.detach(), *gradients])


def part_of_the_factor(estimator, program, x=X):
    """What the factor adds to the loss and its gradient, of one datum, for the same draws."""
    plain = copy.copy(program)
    plain.where = None
    without = type(estimator)(num_particles=estimator.num_particles)
    return (found(estimator, program, x) - found(without, plain, x)) / len(x)


# -E_q[f] and its derivatives in loc, scale and a, at a = 1.
TRUTH = torch.tensor(
    [(LOC - 1) ** 2 + SCALE**2, 2 * (LOC - 1), 2 * SCALE, -2 * (LOC - 1)], dtype=torch.float64
)


def some(estimator, **options):
    return estimator(num_particles=K, **options)


@pytest.mark.parametrize("where", ["model", "guide"])
@pytest.mark.parametrize("estimator", ALL)
def test_an_estimator_climbs_the_mean_of_a_factor_over_draws(estimator, where):
    x = X[:200] if estimator in PAIRS else X
    # One term of the score's gradient deviates by less than 8; so do value and pathwise gradient.
    error = 5 * 8 / math.sqrt(len(x))
    difference = part_of_the_factor(some(estimator, factors={"f": 3.0}), Stated(where), x)
    torch.testing.assert_close(difference, 3 * TRUTH, rtol=0, atol=3 * error)
    difference = part_of_the_factor(some(estimator), Stated(where), x)
    torch.testing.assert_close(difference, TRUTH, rtol=0, atol=error)


@pytest.mark.parametrize("estimator", ALL)
def test_a_factor_outside_the_plate_counts_once_though_it_depends_on_all_draws(estimator):
    x, parts = X[:20], []
    estimator = some(estimator).prepared(Stated(inside=False).model, Stated().guide, x)
    for seed in range(60 if estimator.detaches_draws else 8):
        program = Stated(inside=False, full_size=1000)
        plain = copy.copy(program)
        plain.where = None
        one = found(estimator, program, x, seed) - found(estimator, plain, x, seed)
        parts.append(one)
    parts = torch.stack(parts)
    error = parts.std(0) / math.sqrt(len(parts))
    assert ((parts.mean(0) - TRUTH).abs() <= 5 * error + 1e-9).all()


@pytest.mark.parametrize("estimator", ALL)
def test_a_factor_of_weight_zero_is_not_there_even_if_it_is_infinite(estimator):
    without, x = found(some(estimator), Stated(None), X[:50]), X[:50]
    torch.testing.assert_close(found(some(estimator, factors={"f": 0.0}), Stated(), x), without)
    with torch.no_grad():
        pyro.set_rng_seed(0)
        program = Stated(a=math.inf)
        loss = some(estimator, factors={"f": 0.0}).loss(program.model, program.guide, x)
    assert loss == pytest.approx(without[0].item(), rel=1e-12)


@pytest.mark.parametrize("estimator", [Trace_ELBO(), IWAE(3), DReG(3)], ids=str)
def test_a_factor_in_the_plate_is_scaled_with_it(estimator):
    x = X[:50]
    part = part_of_the_factor(estimator, Stated(), x)
    scaled = part_of_the_factor(estimator, Stated(full_size=1000), x)
    torch.testing.assert_close(scaled, 20 * part)


@pytest.mark.parametrize("kind", [IWAE, DReG, VIMCO, Trace_ELBO])
def test_it_is_the_same_however_particles_are_run(kind):
    truth = 3 * TRUTH
    ways = [(kind(K, factors={"f": 3.0}), Stated(one_row=True))]
    if kind is IWAE:
        ways += [(IWAE(K, chunk_size=3, factors={"f": 3.0}), Stated())]
    if kind is Trace_ELBO:
        ways += [(Trace_ELBO(K, vectorize_particles=True, factors={"f": 3.0}), Stated())]
    for estimator, program in ways:
        difference = part_of_the_factor(estimator, program)
        torch.testing.assert_close(difference, truth, rtol=0, atol=3 * 5 * 8 / math.sqrt(N))


class Coin:
    """y ~ Bernoulli(1/2), x ~ N(y, 1), guide Bernoulli(sigmoid(logit)), and 2 y as a factor."""

    def __init__(self, where="model"):
        self.where, self.logit = where, torch.tensor(0.4).double().requires_grad_()

    def model(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(0.5 * x.new_ones(())))
            pyro.sample("x", dist.Normal(y, 1.0), obs=x)
            if self.where == "model":
                training_factor("f", 2 * y)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            q = dist.Bernoulli(logits=self.logit.expand(len(x)))
            y = pyro.sample("y", q, infer={"enumerate": "parallel"})
            if self.where == "guide":
                training_factor("f", 2 * y, guide=True)


@pytest.mark.parametrize("where", ["model", "guide"])
@pytest.mark.parametrize(
    "estimator",
    [
        Trace_ELBO,
        partial(ScoreFunction, K),
        partial(ScoreFunction, 1, baseline=None),
        partial(VIMCO, K),
        partial(ReweightedWakeSleep, K),
        partial(TraceEnum_ELBO, max_plate_nesting=1),
    ],
    ids=["Trace_ELBO", "K scores", "one score", "VIMCO", "RWS", "TraceEnum_ELBO"],
)
def test_the_gradient_through_discrete_draws_is_that_of_the_expectation(estimator, where):
    gradients = []
    for program, factors in ((Coin(where), {"f": 3.0}), (Coin(None), {})):
        pyro.set_rng_seed(0)
        loss = estimator(factors=factors).differentiable_loss(program.model, program.guide, X)
        gradients.append(torch.autograd.grad(loss, program.logit)[0] / N)
    p = torch.tensor(0.4).double().sigmoid()
    difference = gradients[0] - gradients[1]
    # A score's term deviates by less than 6 |1 - p|.
    torch.testing.assert_close(difference, -3 * 2 * p * (1 - p), rtol=0, atol=5 * 6 / math.sqrt(N))


@pytest.mark.parametrize("where", ["model", "guide"])
@pytest.mark.parametrize(
    "ours, pyros",
    [
        (Trace_ELBO(), pyro.infer.Trace_ELBO()),
        (TraceMeanField_ELBO(), pyro.infer.TraceMeanField_ELBO()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_to_pyros_own_elbo_it_is_a_plain_factor_of_weight_one(ours, pyros, where):
    x = X[:100]
    torch.testing.assert_close(found(ours, Stated(where), x), found(pyros, Stated(where), x))


@pytest.mark.parametrize("where", ["model", "guide"])
def test_pyros_sums_over_discrete_latents_weigh_it_by_one(where):
    losses = []
    for kind in (TraceEnum_ELBO, pyro.infer.TraceEnum_ELBO):
        program = Coin(where)
        loss = kind(max_plate_nesting=1).differentiable_loss(program.model, program.guide, X[:9])
        losses.append((loss, *torch.autograd.grad(loss, program.logit)))
    torch.testing.assert_close(*losses)


# What judges.


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("where", ["model", "guide"])
def test_what_judges_a_program_leaves_it_out_in_any_mode(where, inside):
    program, plain = Stated(where, inside=inside), Stated(None)
    x = X[:20]
    for judge in (lambda p: evaluate(p, x).bound, lambda p: log_likelihood(p, x, 50)):
        values = []
        for each in (program, plain):
            pyro.set_rng_seed(0)
            values.append(judge(each))
        assert torch.equal(*values)


def test_it_may_be_scaled_and_masked_as_one_likes():
    program = Stated()

    def model(x):
        with pyro.poutine.scale(scale=0.1), pyro.poutine.mask(mask=x[0] > 0):
            training_factor("g", x[0])
        program.model(x)

    other = SimpleNamespace(model=model, guide=program.guide)
    assert evaluate(other, X[:5]).bound.shape == (5,)
    assert IWAE(2).loss(other.model, other.guide, X[:5])


def test_the_validation_of_fit_is_the_bound():
    losses = []
    for where, weights in (("model", {"f": 1e4}), (None, {})):
        program = Stated(where)
        pyro.set_rng_seed(0)
        loss, optim = Trace_ELBO(factors=weights), pyro.optim.Adam({"lr": 0.0})
        trained = fit(
            program, X[:64], valid=X[:64], loss=loss, optim=optim, epochs=1, progress=False
        )
        losses.append(trained.records[0])
    assert losses[0]["valid_loss"] == pytest.approx(losses[1]["valid_loss"], rel=1e-12)
    assert losses[0]["train_loss"] > losses[1]["train_loss"] + 1e3


def test_in_a_comparison_a_value_that_counts_it_is_no_bound():
    estimators = [Trace_ELBO(), Trace_ELBO(factors={"f": 0.0}), pyro.infer.Trace_ELBO(), DReG()]
    rows = compare(Stated(), X[:20], estimators, num_particles=(2,), repeats=3, progress=False).rows
    assert [row.is_bound for row in rows] == [False, True, False, False]


def test_in_a_comparison_the_reference_has_the_same_weights():
    options = {"num_particles": (3,), "repeats": 50, "progress": False}
    (row,) = compare(Stated(), X[:50], [DReG(factors={"f": 30.0})], **options).rows
    assert row.guide.length > 30 and row.guide.bias < 4 * row.guide.bias_error


def test_a_model_that_states_one_can_dream():
    estimator = ReweightedWakeSleep(2, insomnia=0.5)
    for where in ("model", "guide"):
        assert found(estimator, Stated(where), X[:10]).isfinite().all()


# Weights.


def test_a_schedule_weighs_it_by_the_step_and_is_recorded():
    estimator = Trace_ELBO(factors={"f": linear(0, 8, 4)})
    assert estimator.at(2) == Trace_ELBO(factors={"f": 4.0})
    program = Stated()
    optim = pyro.optim.Adam({"lr": 0.0})
    trained = fit(program, X[:8], loss=estimator, optim=optim, steps=8, progress=False)
    assert [record["factors.f"] for record in trained.records] == [2, 4, 6, 8, 8, 8, 8, 8]


@pytest.mark.parametrize("where", ["model", "guide"])
@pytest.mark.parametrize("estimator", [Trace_ELBO, DReG, VIMCO])
def test_a_captured_step_is_the_eager_one(estimator, where):
    losses = []
    for compile in (False, Compile(fuse=False)):
        program = Stated(where)
        loss = some(estimator, factors={"f": linear(0, 8, 10)})
        svi = SVI(
            program.model, program.guide, pyro.optim.Adam({"lr": 0.01}), loss, compile=compile
        )
        pyro.set_rng_seed(1)
        losses.append([svi.step(X[:16]).item() for _ in range(8)])
    assert svi.mode == "captured"
    assert losses[0] == losses[1]


def test_pyros_svi_takes_the_weights_of_our_estimator():
    values = []
    for kind in (SVI, pyro.infer.SVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        program = Stated()

        def model(x, program=program):
            pyro.module("numbers", program.numbers)
            program.model(x)

        svi = kind(model, program.guide, pyro.optim.SGD({"lr": 1e-3}), IWAE(3, factors={"f": 5.0}))
        losses = [float(svi.step(X[:16])) for _ in range(3)]
        values.append([*losses, *(p.item() for p in program.numbers.values())])
    assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_weights_are_copied_compared_and_shown_as_they_are_given():
    weights = {"f": 2.0}
    estimator = Trace_ELBO(factors=weights)
    weights["f"] = 3.0
    assert estimator == Trace_ELBO(factors={"f": 2.0}) != Trace_ELBO()
    assert hash(estimator) == hash(Trace_ELBO(factors={"f": 2.0}))
    assert "factors={'f': 2.0}" in repr(estimator)


def test_a_text_says_them():
    text = "IWAE(factors={'label': linear(0, 50, steps=10), 'other': -1.5})"
    assert read_loss(text, {}) == IWAE(factors={"label": linear(0, 50, 10), "other": -1.5})
    loss = read_loss("TraceEnum_ELBO(max_plate_nesting=1, factors={'label': 50})", {})
    assert isinstance(loss, TraceEnum_ELBO) and loss.factors == {"label": 50}


@pytest.mark.parametrize(
    "factors, error, sentence",
    [
        ({"f": math.inf}, ValueError, "weighs the factor 'f' by inf, but .* finite numbers"),
        ({"f": "2"}, ValueError, "weighs the factor 'f' by '2', but .* finite numbers"),
        ({3: 2.0}, ValueError, "weighs the factor 3 by 2.0, but names are texts"),
        (0.5, TypeError, "factors of .* is 0.5, but must be a mapping"),
    ],
)
@pytest.mark.parametrize("estimator", [Trace_ELBO, TraceEnum_ELBO])
def test_weights_that_are_none_are_refused(estimator, factors, error, sentence):
    with pytest.raises(error, match=sentence):
        estimator(factors=factors)


@pytest.mark.parametrize("estimator", [Trace_ELBO, IWAE, TraceEnum_ELBO])
def test_a_name_that_no_factor_has_is_refused(estimator):
    program = Coin()
    sentence = r"weighs the factors \['g'\], but the training factors of the program are \['f'\]"
    with torch.no_grad(), pytest.raises(ValueError, match=sentence):
        estimator(max_plate_nesting=1, factors={"g": 1.0}).loss(program.model, program.guide, X[:4])


@pytest.mark.parametrize("estimator", [Trace_ELBO, IWAE])
def test_weights_for_a_program_without_factors_are_refused(estimator):
    program = VAE((4,), 2, hidden=(3,))
    sentence = r"weighs the factors \['g'\], but the program has no training factors; leave"
    with torch.no_grad(), pytest.raises(ValueError, match=sentence):
        elbo = estimator(max_plate_nesting=1, factors={"g": 1.0})
        elbo.loss(program.model, program.guide, torch.zeros(5, 4))


def test_enumeration_refuses_schedules():
    with pytest.raises(ValueError, match=r"weighs the factors \['f'\] by schedules"):
        TraceEnum_ELBO(factors={"f": constant(1.0)})


@pytest.mark.parametrize("stated, sentence", [(True, "value, guide=True"), (False, r"value\)")])
def test_a_factor_that_is_stated_as_one_of_the_other_function_is_refused(stated, sentence):
    def state(x):
        with pyro.plate("data", len(x)):
            training_factor("f", x, guide=not stated)
            if not stated:
                pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    def data(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    pair = (data, state) if stated else (state, lambda x: None)
    refused = pytest.raises(ValueError, match=f"training_factor.'f', {sentence}")
    with pyro.validation_enabled(False), refused:  # Pyro's misses a word on draws first
        Trace_ELBO().loss(*pair, X[:3])


def test_model_and_guide_cannot_share_the_name_of_a_factor():
    program = Stated("model")

    def guide(x):
        program.guide(x)
        training_factor("f", x.sum(), guide=True)

    with pytest.raises(ValueError, match="both state a training factor 'f'"):
        Trace_ELBO().loss(program.model, guide, X[:3])


def test_check_tells_of_it():
    report = check(Stated(), X[:8], Trace_ELBO(factors={"f": 2.0}))
    assert report.training_factors == ("f",) and report.factors == ()
    assert report.summary().endswith("training factors 'f'")


def test_a_training_factor_alone_is_no_data():
    def model(x):
        with pyro.plate("data", len(x)):
            training_factor("f", x)

    with pytest.raises(ValueError, match="the model observes nothing"):
        check(SimpleNamespace(model=model, guide=lambda x: None), X[:4], Trace_ELBO())
