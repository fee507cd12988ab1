"""Trace_ELBO and TraceMeanField_ELBO are Pyro's, and what they add has the right numbers."""

import math
from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro import poutine
from torch import tensor

import pyro_vae.inference
from pyro_vae.inference import Trace_ELBO, TraceMeanField_ELBO, linear

X = tensor([[0.3, -1.2], [1.1, 0.4], [-0.7, 2.0], [0.1, 0.2], [1.5, -0.3]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _fresh():
    with pyro.settings.context(module_local_params=False):
        pyro.clear_param_store()
        yield
        pyro.clear_param_store()


def param(name, *values, **kwargs):
    return pyro.param(name, torch.tensor(values, dtype=torch.float64).squeeze(), **kwargs)


class Plain:
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(param("m", 0.2), 1.0).expand([2]).to_event(1))
            pyro.sample("x", dist.Normal(z * param("w", 0.9), 0.7).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            q = dist.Normal(x * param("v", 0.4, 0.6), param("s", -0.3).exp())
            pyro.sample("z", q.to_event(1))


class Subsampled(Plain):
    def model(self, x):
        with pyro.plate("data", len(x), subsample_size=2) as i:
            z = pyro.sample("z", dist.Normal(param("m", 0.2), 1.0).expand([2]).to_event(1))
            pyro.sample("x", dist.Normal(z * param("w", 0.9), 0.7).to_event(1), obs=x[i])

    def guide(self, x):
        with pyro.plate("data", len(x), subsample_size=2) as i:
            q = dist.Normal(x[i] * param("v", 0.4, 0.6), param("s", -0.3).exp())
            pyro.sample("z", q.to_event(1))


class Masked(Plain):
    mask = tensor([True, False, True, True, False])

    def model(self, x):
        with poutine.mask(mask=self.mask):
            super().model(x)

    def guide(self, x):
        with poutine.mask(mask=self.mask):
            super().guide(x)


class Global(Plain):
    def model(self, x):
        w = pyro.sample("w", dist.Normal(param("m", 0.2), 1.0))
        with pyro.plate("data", len(x)):
            w = w.unsqueeze(-1).expand(*w.shape, 2)
            z = pyro.sample("z", dist.Normal(w, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z * w, 0.7).to_event(1), obs=x)

    def guide(self, x):
        pyro.sample("w", dist.Normal(param("w_loc", 0.5), param("w_scale", -1.0).exp()))
        super().guide(x)


class NestedDiscrete:
    """A choice for each datum, one for each of its dimensions, and a real latent beside them."""

    size = None

    def plates(self, x):
        data = pyro.plate("data", len(x), subsample_size=self.size, dim=-2)
        return data, pyro.plate("dims", 2, dim=-1)

    def model(self, x):
        data, dims = self.plates(x)
        with data as i:
            c = pyro.sample("c", dist.Bernoulli(logits=param("c_p", 0.3)))
            z = pyro.sample("z", dist.Normal(c, 1.0))
            with dims:
                d = pyro.sample("d", dist.Bernoulli(0.3 + 0.4 * c))
                pyro.sample("x", dist.Normal(z + d * param("w", 0.9), 0.7), obs=x[i])

    def guide(self, x):
        data, dims = self.plates(x)
        with data as i:
            c = pyro.sample("c", dist.Bernoulli(logits=x[i].sum(-1, True) * param("v", 0.4)))
            pyro.sample("z", dist.Normal(c + param("z_q", 0.1), param("s", -0.3).exp()))
            with dims:
                pyro.sample("d", dist.Bernoulli(logits=x[i] * param("d_q", 0.2)))


class NestedSubsampled(NestedDiscrete):
    size = 3


class NestedScaled(NestedDiscrete):
    def model(self, x):
        with poutine.scale(scale=0.5):
            super().model(x)

    def guide(self, x):
        with poutine.scale(scale=0.5):
            super().guide(x)


class Sequential:
    def model(self, x):
        for i in pyro.plate("data", len(x), subsample_size=3):
            z = pyro.sample(f"z_{i}", dist.Normal(param("m", 0.2), 1.0))
            pyro.sample(f"x_{i}", dist.Normal(z, 0.7).expand([2]).to_event(1), obs=x[i])

    def guide(self, x):
        for i in pyro.plate("data", len(x), subsample_size=3):
            pyro.sample(f"z_{i}", dist.Normal(x[i].sum() * param("v", 0.4), 0.8))


class Observing(Plain):
    """The guide observes a site that the model observes, too."""

    def model(self, x):
        super().model(x)
        with pyro.plate("more", len(x)):
            pyro.sample("y", dist.Normal(param("y_p", 0.3), 1.0), obs=x[:, 0])

    def guide(self, x):
        super().guide(x)
        with pyro.plate("more", len(x)):
            pyro.sample("y", dist.Normal(param("y_q", -0.2), 0.9), obs=x[:, 0])


class ObservingMore(Plain):
    """The guide observes a site that the model has not."""

    def guide(self, x):
        super().guide(x)
        with pyro.plate("more", len(x)):
            pyro.sample("seen", dist.Normal(param("seen_q", 0.1), 1.0), obs=x[:, 1])


class ObservingDiscrete(NestedDiscrete):
    def model(self, x):
        super().model(x)
        with pyro.plate("more", len(x), dim=-2):
            pyro.sample("y", dist.Bernoulli(logits=param("y_p", 0.3)), obs=(x[:, :1] > 0).double())

    def guide(self, x):
        super().guide(x)
        with pyro.plate("more", len(x), dim=-2):
            logits = x.sum(-1, True) * param("y_q", 0.4)
            pyro.sample("y", dist.Bernoulli(logits=logits), obs=(x[:, :1] > 0).double())


class Factored(Plain):
    """A penalty, a factor of each datum and values with names, in and outside the data plate."""

    def model(self, x):
        pyro.factor("penalty", -param("m", 0.2).square())
        pyro.deterministic("shift", param("m", 0.2) + 1)
        super().model(x)
        with pyro.plate("more", len(x)):
            pyro.factor("each", x[:, 0] * param("w", 0.9))


REAL = [Plain, Subsampled, Masked, Global, Sequential, Factored]
DISCRETE = [NestedDiscrete, NestedSubsampled, NestedScaled, ObservingDiscrete]
CASES = [("Trace_ELBO", program) for program in [*REAL, Observing, ObservingMore, *DISCRETE]]
CASES += [("TraceMeanField_ELBO", program) for program in [*REAL, Observing]]
# With the nesting given, as Pyro draws from the training's random numbers to find it.
AT_ONCE = {"num_particles": 4, "vectorize_particles": True, "max_plate_nesting": 2}
MODES = [{}, {"num_particles": 3}, AT_ONCE]


def loss_and_gradients(estimator, program, seed=0):
    pyro.set_rng_seed(seed)
    loss = estimator.loss_and_grads(program.model, program.guide, X)
    params = pyro.get_param_store().named_parameters()
    gradients = {name: p.grad.clone() for name, p in params if p.grad is not None}
    for _, parameter in pyro.get_param_store().named_parameters():
        parameter.grad = None
    return loss, gradients


@pytest.mark.filterwarnings("ignore:Found (non-auxiliary vars|plate statements) in guide")
@pytest.mark.parametrize("options", MODES, ids=["one", "three in turn", "four at once"])
@pytest.mark.parametrize(("name", "program"), CASES, ids=lambda c: getattr(c, "__name__", c))
def test_it_is_pyros_estimator_of_the_same_name(name, program, options):
    if program is Sequential and "vectorize_particles" in options:
        pytest.skip("the plate's loop converts draws that are vectorized")
    theirs = loss_and_gradients(getattr(pyro.infer, name)(**options), program())
    ours = loss_and_gradients(getattr(pyro_vae.inference, name)(**options), program())
    assert ours[0] == pytest.approx(theirs[0], rel=1e-6)
    assert ours[1].keys() == theirs[1].keys()
    for parameter, gradient in theirs[1].items():
        torch.testing.assert_close(ours[1][parameter], gradient, rtol=1e-6, atol=1e-6)


def test_the_loss_without_gradients_is_pyros():
    losses = []
    for module in (pyro.infer, pyro_vae.inference):
        pyro.set_rng_seed(0)
        elbo = module.Trace_ELBO(num_particles=7, vectorize_particles=True, max_plate_nesting=2)
        losses.append(elbo.loss(NestedDiscrete().model, NestedDiscrete().guide, X))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def kl_to_standard_normal(loc, scale):
    return (scale**2 + loc**2 - 1) / 2 - math.log(scale)


class TwoLatents:
    """q(z_1) = N(1, 0.5) and q(z_2) = N(0, 1.1), both with prior N(0, 1), for each datum."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z_1", dist.Normal(0.0, 1.0)), pyro.sample("z_2", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0 * sum(z), 1.0), obs=0 * x[:, 0])

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z_1", dist.Normal(param("loc", 1.0), 0.5))
            pyro.sample("z_2", dist.Normal(0.0, param("scale", 1.1)))


KL = [kl_to_standard_normal(1.0, 0.5), kl_to_standard_normal(0.0, 1.1)]  # 0.818 and 0.0097
LOG_PX = -0.5 * math.log(2 * math.pi)


def test_beta_weighs_the_kl():
    loss = TraceMeanField_ELBO(beta=3.0).loss(TwoLatents().model, TwoLatents().guide, X)
    assert loss == pytest.approx(-len(X) * (LOG_PX - 3 * sum(KL)), rel=1e-6)


def test_free_bits_are_a_floor_for_each_latent_with_no_gradient_below_it():
    loss, gradients = loss_and_gradients(TraceMeanField_ELBO(free_bits=0.5), TwoLatents())
    assert loss == pytest.approx(-len(X) * (LOG_PX - KL[0] - 0.5), rel=1e-6)
    assert gradients["scale"] == 0
    assert gradients["loc"].item() == pytest.approx(len(X) * 1.0, rel=1e-6)  # d KL / d loc = loc


def test_drawn_and_analytic_kl_agree_in_the_mean():
    draws = 20_000
    elbo = Trace_ELBO(beta=2.0, num_particles=draws, vectorize_particles=True)
    loss = elbo.loss(TwoLatents().model, TwoLatents().guide, X)
    # log q - log p of a Normal with variance v to N(0, 1): its variance is under 2 per latent.
    error = 2.0 * math.sqrt(2 * 2 * len(X) / draws)
    assert loss == pytest.approx(-len(X) * (LOG_PX - 2 * sum(KL)), abs=4 * error)


def test_a_schedule_gives_the_number_of_its_step():
    elbo = Trace_ELBO(beta=linear(0, 1, steps=10), free_bits=linear(1, 0, steps=10))
    assert (elbo.at(5).beta, elbo.at(5).free_bits) == (0.5, 0.5)


def test_a_schedule_without_steps_is_refused():
    elbo = Trace_ELBO(beta=linear(0, 1, steps=10))
    with pytest.raises(ValueError, match="is a schedule, which needs the step: train with"):
        elbo.loss(Plain().model, Plain().guide, X)


@pytest.mark.parametrize("options", [{"beta": -1.0}, {"beta": math.inf}, {"free_bits": -0.1}])
def test_a_weight_that_is_not_one_is_refused(options):
    with pytest.raises(ValueError, match="must be finite and not negative"):
        Trace_ELBO(**options)


@pytest.mark.parametrize("capacity", [0.3, 50.0])
def test_capacity_pays_the_distance_of_the_kl_from_it(capacity):
    elbo = TraceMeanField_ELBO(beta=3.0, capacity=capacity)
    loss, gradients = loss_and_gradients(elbo, TwoLatents())
    assert loss == pytest.approx(-len(X) * (LOG_PX - 3 * abs(sum(KL) - capacity)), rel=1e-6)
    sign = 1 if sum(KL) > capacity else -1
    assert gradients["loc"].item() == pytest.approx(sign * 3 * len(X) * 1.0, rel=1e-6)


def test_free_bits_with_discrete_latents_are_refused():
    with pytest.raises(ValueError, match="free_bits needs latents with reparameterized draws"):
        loss_and_gradients(Trace_ELBO(free_bits=0.1), NestedDiscrete())


def test_analytic_kl_of_discrete_draws_is_refused():
    with pytest.raises(ValueError, match="TraceMeanField_ELBO needs reparameterized draws"):
        loss_and_gradients(TraceMeanField_ELBO(), NestedDiscrete())


class Chain:
    """z_2 depends on z_1 in the model, and the other way round in the guide."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z_1 = pyro.sample("z_1", dist.Normal(0.0, 1.0))
            z_2 = pyro.sample("z_2", dist.Normal(z_1, 0.5))
            pyro.sample("x", dist.Normal(z_2, 1.0), obs=x[:, 0])

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z_2 = pyro.sample("z_2", dist.Normal(x[:, 0], 0.7))
            pyro.sample("z_1", dist.Normal(z_2, param("s", 0.4)))


def test_analytic_kl_is_refused_where_the_guide_is_not_factorized_as_the_model():
    with pytest.raises(ValueError, match=r"the model samples \['z_1', 'z_2'\] and the guide"):
        TraceMeanField_ELBO().loss(Chain().model, Chain().guide, X)
    assert math.isfinite(Trace_ELBO().loss(Chain().model, Chain().guide, X))


# What Pyro refuses under validation.


def shapes(event_dims, sizes=(2, 2), names=("p", "p")):
    """A pair whose latent has other event dimensions or another plate in the guide."""

    def part(i, observe):
        batch = sizes[i : i + 1] if event_dims[i] else ()
        with pyro.plate(names[i], sizes[i]) if not event_dims[i] else nullcontext():
            pyro.sample("z", dist.Normal(torch.zeros(batch), 1.0).to_event(event_dims[i]))
        if observe:
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=tensor(0.0))

    return lambda: part(0, True), lambda: part(1, False)


def subsampled(sizes):
    def part(size, observe):
        with pyro.plate("p", 6, subsample_size=size):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            if observe:
                pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(size))

    return lambda: part(sizes[0], True), lambda: part(sizes[1], False)


def no_plate():
    def part(observe):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0))
        if observe:
            pyro.sample("x", dist.Normal(z, 1.0), obs=torch.zeros(3))

    return lambda: part(True), lambda: part(False)


WRONG = {
    "event shapes that differ": shapes((0, 1)),
    "plates of two sizes": shapes((0, 0), sizes=(2, 3), names=("p", "q")),
    "subsamples of two sizes": subsampled((2, 3)),
    "a batch without a plate": no_plate(),
}


@pytest.mark.filterwarnings("ignore:Found plate statements in guide")
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("module", [pyro.infer, pyro_vae.inference])
def test_what_pyro_refuses_under_validation_is_refused(module, wrong):
    with pyro.validation_enabled(), pytest.raises((ValueError, RuntimeError)):
        module.Trace_ELBO().loss(*WRONG[wrong])


def test_too_small_a_plate_nesting_is_refused_as_by_pyro():
    for module in (pyro.infer, pyro_vae.inference):
        elbo = module.Trace_ELBO(max_plate_nesting=1)
        with pytest.raises(ValueError, match="plate stack overflow"):
            elbo.loss(NestedDiscrete().model, NestedDiscrete().guide, X)
