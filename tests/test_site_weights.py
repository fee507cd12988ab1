"""Weights of each latent site: beta and free bits by name, and KL balancing."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.optim import Adam
from torch.distributions import kl_divergence

from pyro_vae.app.text import read_loss
from pyro_vae.inference import (
    CIWAE,
    STL,
    SVI,
    Compile,
    Trace_ELBO,
    TraceMeanField_ELBO,
    fit,
    linear,
)
from pyro_vae.models import HVAE

ESTIMATORS = (Trace_ELBO, TraceMeanField_ELBO, STL)
X = torch.tensor([0.3, -1.2, 1.1, 0.4, -0.7], dtype=torch.float64)
SHAPES = {"z_3": (2, 1, 1), "z_2": (2, 2, 2), "z_1": (2, 2, 2)}


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


class Three:
    """Three sites of q = N(loc_l x, scale_l) on grids of 1, 4 and 4 positions, of two numbers each.

    The data have log p(x | z) = 0.
    """

    def __init__(self):
        self.loc = {
            n: torch.tensor(v, dtype=torch.float64).requires_grad_()
            for n, v in zip(SHAPES, (1.5, 0.2, 0.7), strict=True)
        }
        self.scale = {
            n: torch.tensor(v, dtype=torch.float64).requires_grad_()
            for n, v in zip(SHAPES, (0.5, 1.1, 0.9), strict=True)
        }

    def q(self, name, x):
        loc = (self.loc[name] * x).view(-1, 1, 1, 1).expand(len(x), *SHAPES[name])
        return dist.Normal(loc, self.scale[name])

    def kl(self, name, x):  # (N,)
        return kl_divergence(self.q(name, x), dist.Normal(double(0.0), 1.0)).sum((1, 2, 3))

    def model(self, x):
        with pyro.plate("data", len(x)):
            for name, shape in SHAPES.items():
                zeros = torch.zeros(len(x), *shape).double()
                pyro.sample(name, dist.Normal(zeros, 1.0).to_event(3))
            pyro.sample("x", dist.Delta(x), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            for name in SHAPES:
                pyro.sample(name, self.q(name, x).to_event(3))

    @property
    def parameters(self):
        return [*self.loc.values(), *self.scale.values()]


def loss_and_gradients(estimator, program):
    loss = estimator.differentiable_loss(program.model, program.guide, X)
    return loss.item(), *torch.autograd.grad(loss, program.parameters)


def expected(program, weights):
    """The sum of the KLs of the data, each site's times its weight, with its gradient."""
    loss = sum(weights[name] * program.kl(name, X).sum() for name in SHAPES)
    return loss.item(), *torch.autograd.grad(loss, program.parameters, allow_unused=True)


def test_each_site_pays_its_own_beta_and_those_not_named_pay_one():
    found = loss_and_gradients(TraceMeanField_ELBO(beta={"z_1": 0.25, "z_3": 2.0}), Three())
    right = expected(Three(), {"z_1": 0.25, "z_2": 1.0, "z_3": 2.0})
    torch.testing.assert_close(found, right)


@pytest.mark.parametrize("estimator", [Trace_ELBO, STL])
def test_drawn_kls_have_the_same_betas_in_the_mean(estimator):
    draws, program = 20_000, Three()
    beta = {"z_1": 0.25, "z_3": 2.0}
    pyro.set_rng_seed(0)
    found = loss_and_gradients(estimator(draws, vectorize_particles=True, beta=beta), program)
    right = expected(program, {"z_1": 0.25, "z_2": 1.0, "z_3": 2.0})
    # a draw's sum and its gradient deviate by less than 20; 4 errors
    torch.testing.assert_close(found, right, rtol=0, atol=4 * 20 / draws**0.5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_beta_for_each_site_is_one_beta(estimator):
    values = []
    for beta in (0.3, dict.fromkeys(SHAPES, 0.3)):
        pyro.set_rng_seed(0)
        values.append(loss_and_gradients(estimator(beta=beta), Three()))
    torch.testing.assert_close(values[0], values[1])


def test_a_site_may_have_a_floor_of_its_own():
    program = Three()
    kl = {name: program.kl(name, X).mean() for name in SHAPES}
    assert kl["z_2"] < 3.0 and kl["z_3"] < 50.0
    found = loss_and_gradients(TraceMeanField_ELBO(free_bits={"z_2": 3.0}), program)
    loss = len(X) * (kl["z_1"] + 3.0 + kl["z_3"])
    gradients = torch.autograd.grad(loss, program.parameters, allow_unused=True)
    right = loss.item(), *(torch.zeros(()).double() if g is None else g for g in gradients)
    torch.testing.assert_close(found, right)


def test_each_number_of_a_site_may_have_a_floor_of_its_own():
    program = Three()
    numbers = {n: kl_divergence(program.q(n, X), dist.Normal(double(0.0), 1.0)) for n in SHAPES}
    floored = numbers["z_2"].mean(0).clamp(min=0.1).sum()
    assert (numbers["z_2"].mean(0) < 0.1).all()
    right = len(X) * (numbers["z_1"].mean(0).sum() + floored + numbers["z_3"].mean(0).sum())
    loss = TraceMeanField_ELBO(free_bits_per_dimension={"z_2": 0.1}).loss
    assert loss(program.model, program.guide, X) == pytest.approx(right.item())


def test_numbers_of_several_sites_are_floored_over_the_batch_each_by_itself():
    program = Three()
    numbers = [kl_divergence(program.q(n, X), dist.Normal(double(0.0), 1.0)) for n in SHAPES]
    loss = len(X) * sum(each.mean(0).clamp(min=0.3).sum() for each in numbers)
    gradients = torch.autograd.grad(loss, program.parameters, allow_unused=True)
    found = loss_and_gradients(TraceMeanField_ELBO(free_bits_per_dimension=0.3), program)
    torch.testing.assert_close(found, (loss.item(), *gradients))
    assert found[2] == 0 != found[1]  # z_2 is below the floor, z_3 above


@pytest.mark.parametrize("name", ["beta", "free_bits", "free_bits_per_dimension", "kl_balance"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_site_that_is_no_latent_is_refused_with_those_that_are(estimator, name):
    loss = estimator(**{name: {"z_4": 0.5, "z_1": 0.5}, **({"beta": 0.5} if "k" in name else {})})
    sentence = rf"{name} of {estimator.__name__} names the sites \['z_4'\], but the latent sites"
    with pytest.raises(ValueError, match=sentence + r".* are \['z_3', 'z_2', 'z_1'\]; name these"):
        loss.loss(Three().model, Three().guide, X)


@pytest.mark.parametrize("weight", [-0.5, float("inf"), "1", None])
def test_a_weight_of_a_site_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="beta of Trace_ELBO .*'z_1'"):
        Trace_ELBO(beta={"z_1": weight})


def test_an_estimator_of_one_beta_says_so():
    with pytest.raises(ValueError, match="beta of CIWAE is .* must be one number or schedule"):
        CIWAE(beta={"z_1": 0.5})


def test_a_target_for_all_sites_goes_with_no_weights_of_each():
    for options in ({"beta": {"z_1": 0.5}}, {"kl_balance": True}):
        with pytest.raises(ValueError, match="capacity, a target for the KL of all sites together"):
            Trace_ELBO(capacity=5.0, **options)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_it_is_a_value_that_says_what_it_is(estimator):
    beta = {"z_2": linear(0, 1, steps=10)}
    loss = estimator(beta=beta)
    assert loss == estimator(beta=dict(beta)) and hash(loss) == hash(estimator(beta=beta))
    beta["z_1"] = 3.0
    assert loss.beta == {"z_2": linear(0, 1, steps=10)}
    assert loss.schedules() == {"beta.z_2": linear(0, 1, steps=10)}
    assert loss.at(5).beta == {"z_2": 0.5} and loss.is_linear
    assert not loss.is_bound and not loss.at(5).is_bound and loss.at(10).is_bound
    assert loss.at(5).reference(reparameterized=True) == Trace_ELBO(beta={"z_2": 0.5})


def test_balancing_is_no_plain_kl_while_a_beta_is_below_one():
    loss = TraceMeanField_ELBO(beta=linear(0, 1, steps=10), kl_balance=True)
    assert not loss.at(9).is_linear and loss.at(9).reference(reparameterized=True) == loss.at(9)
    assert loss.at(10).is_linear and loss.at(10).is_bound


def test_the_texts_of_the_command_line_say_it():
    found = read_loss("TraceMeanField_ELBO(beta={'z_1': linear(0, 1, 1000)}, kl_balance=True)", {})
    assert found == TraceMeanField_ELBO(beta={"z_1": linear(0, 1, 1000)}, kl_balance=True)


def balanced(alphas, beta):
    """The balanced loss by hand: sum_l beta c_l KL_l, with c detached and 1 on average."""
    program = Three()
    kls = {name: program.kl(name, X) for name in SHAPES}
    g = {name: (kl.abs().mean().item() + 0.01) / alphas[name] for name, kl in kls.items()}
    weights = {name: beta * 3 * g[name] / sum(g.values()) for name in SHAPES}
    return expected(program, weights), weights


@pytest.mark.parametrize(
    ("given", "alphas"),
    [
        (True, {"z_3": 1.0, "z_2": 4 / 2, "z_1": 4 / 2}),
        ({"z_1": 4.0}, {"z_3": 1.0, "z_2": 1.0, "z_1": 4.0}),
    ],
)
def test_balancing_weighs_each_site_by_its_kl_over_its_size(given, alphas):
    right, weights = balanced(alphas, beta=0.5)
    assert sum(weights.values()) == pytest.approx(3 * 0.5) and weights["z_3"] > 2 * weights["z_1"]
    found = loss_and_gradients(TraceMeanField_ELBO(beta=0.5, kl_balance=given), Three())
    torch.testing.assert_close(found, right)


def test_balancing_ends_with_the_warm_up():
    losses = [TraceMeanField_ELBO(kl_balance=balance) for balance in (False, True)]
    values = [loss_and_gradients(loss, Three()) for loss in losses]
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=0)


def test_balancing_lasts_while_the_beta_of_any_site_is_below_one():
    alphas = {"z_3": 1.0, "z_2": 2.0, "z_1": 2.0}
    _, weights = balanced(alphas, beta=1.0)
    right = expected(Three(), {**weights, "z_2": 0.5 * weights["z_2"]})
    found = loss_and_gradients(TraceMeanField_ELBO(beta={"z_2": 0.5}, kl_balance=True), Three())
    torch.testing.assert_close(found, right)


@pytest.mark.parametrize("value", [0.5, "z_1", {}, {"z_1": 0.0}, {"z_1": linear(0, 1, 10)}])
def test_sizes_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="kl_balance of Trace_ELBO is"):
        Trace_ELBO(kl_balance=value)


def test_a_graph_follows_the_schedules_of_the_sites_and_the_end_of_balancing():
    losses = []
    for compile in (False, Compile(mode="captured")):
        pyro.set_rng_seed(0)
        program = HVAE((1, 4, 4), (2, 2), hidden=(8, 8))
        floor = {"z_1": linear(0.5, 0, 4)}
        loss = Trace_ELBO(beta={"z_2": linear(0, 1, 6)}, free_bits=floor, kl_balance=True)
        svi = SVI(program.model, program.guide, Adam({"lr": 0.01}), loss, compile=compile)
        x = torch.rand(6, 1, 4, 4).round()
        losses.append([svi.step(x).item() for _ in range(9)])
    assert svi.mode == "captured"
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_training_records_the_beta_of_each_site():
    program = HVAE((1, 4, 4), (2, 2), hidden=(8, 8))
    loss = TraceMeanField_ELBO(beta={"z_2": linear(0, 1, 4)})
    training = fit(program, torch.zeros(8, 1, 4, 4), loss=loss, batch_size=4, epochs=2)
    assert [record["beta.z_2"] for record in training.records] == [0.5, 1.0]
