"""SVI: the same as Pyro's where Pyro's is right, and right where Pyro's is fooled."""

import copy
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch.distributions import constraints

from pyro_vae.inference import SVI, Trace_ELBO, TraceMeanField_ELBO, cosine, fit
from pyro_vae.models import VAE

from .twins import CAPTURE

X = (torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
Y = torch.randn(200, generator=torch.Generator().manual_seed(1)) * 2 + 5


def adam(lr=1e-2):
    return pyro.optim.Adam({"lr": lr})


def vae(**options):
    return VAE((1, 4, 4), latent_dim=3, hidden=(16,), **options)


def normal_model(x):
    """Without a latent, the optimum is the sample's mean and standard deviation."""
    loc = pyro.param("loc", torch.tensor(0.0))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, scale), obs=x)


def no_guide(x):
    pass


def train(svi, *args, steps=400):
    losses = [float(svi.step(*args)) for _ in range(steps)]
    return sum(losses[:5]) / 5, sum(losses[-20:]) / 20


@pytest.mark.parametrize("optim", [adam, lambda: pyro.optim.ClippedAdam({"lr": 1e-2})])
@pytest.mark.parametrize(
    "ours, theirs",
    [
        (Trace_ELBO, pyro.infer.Trace_ELBO),
        (TraceMeanField_ELBO, pyro.infer.TraceMeanField_ELBO),
    ],
)
def test_twenty_steps_give_pyros_parameters(ours, theirs, optim):
    one = vae()
    other = copy.deepcopy(one)
    pyro.set_rng_seed(1)
    svi = SVI(one.model, one.guide, optim(), ours())
    losses = [float(svi.step(X)) for _ in range(20)]
    pyro.set_rng_seed(1)
    pyro.clear_param_store()  # or Pyro's would train nothing
    svi = pyro.infer.SVI(other.model, other.guide, optim(), theirs())
    assert losses == pytest.approx([svi.step(X) for _ in range(20)], rel=1e-6)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_pyro_params_with_constraints_reach_the_maximum_likelihood():
    train(SVI(normal_model, no_guide, adam(0.1)), Y)
    assert pyro.param("loc").item() == pytest.approx(Y.mean().item(), abs=1e-2)
    assert pyro.param("scale").item() == pytest.approx(Y.std(correction=0).item(), abs=1e-2)


def linear_program(declare):
    """z ~ N(0, 1), x ~ N(z, 1): the exact posterior N(x / 2, 1 / 2) is within the guide's reach."""
    encoder = nn.Linear(1, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        if declare:
            pyro.module("encoder", encoder)
        loc, log_scale = encoder(x[:, None]).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()))

    return SimpleNamespace(model=model, guide=guide, encoder=encoder)


@pytest.mark.parametrize("declare", [True, False], ids=["pyro.module", "plain nn.Module"])
def test_a_second_model_of_the_same_names_trains_too(declare):
    for _ in range(2):
        program = linear_program(declare)
        settle = cosine(1, 0, steps=400)
        loss = TraceMeanField_ELBO()
        train(SVI(program.model, program.guide, adam(0.1), loss, lr_schedule=settle), Y - 5)
        weight, bias = program.encoder.weight.detach(), program.encoder.bias.detach()
        assert weight[0, 0].item() == pytest.approx(0.5, abs=0.03)
        assert bias[1].exp().item() == pytest.approx(0.5**0.5, abs=0.05)


def test_two_vaes_in_one_process_keep_their_parameters_apart():
    one, other = vae(), vae()
    before = copy.deepcopy(other.state_dict())
    train(SVI(one.model, one.guide, adam()), X, steps=5)
    for name, value in other.state_dict().items():
        assert torch.equal(value, before[name])
    train(SVI(other.model, other.guide, adam()), X, steps=5)
    assert not torch.equal(other.encoder.layers[0].weight, before["encoder.layers.0.weight"])


class Location(PyroModule):
    """mu ~ N(0, 10), y ~ N(mu, scale)."""

    def __init__(self):
        super().__init__()
        self.mu = PyroSample(dist.Normal(0.0, 10.0))
        self.scale = PyroParam(torch.tensor(1.0), constraints.positive)

    def forward(self, y):
        mu = self.mu
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, self.scale), obs=y)


@pytest.mark.parametrize("autoguide", [AutoNormal, AutoDiagonalNormal])
def test_pyro_modules_with_samples_params_and_autoguides_train_as_in_pyro_and_twice(autoguide):
    def trained(inference):
        pyro.set_rng_seed(0)
        model = Location()
        guide = autoguide(model)
        losses = train(inference(model, guide, adam(0.05), loss()), Y, steps=50)
        return *losses, guide.median()["mu"].item(), model.scale.item()

    loss = pyro.infer.Trace_ELBO
    theirs = trained(pyro.infer.SVI)
    loss = Trace_ELBO
    assert trained(SVI) == pytest.approx(theirs, rel=1e-4)
    assert trained(SVI) == pytest.approx(theirs, rel=1e-4)


@pytest.mark.filterwarnings("ignore:TraceEnum_ELBO found no sample sites")
@pytest.mark.parametrize("declare", [True, False])
@pytest.mark.parametrize(
    "loss",
    [
        pyro.infer.Trace_ELBO(),
        pyro.infer.TraceGraph_ELBO(),
        pyro.infer.TraceEnum_ELBO(max_plate_nesting=1),
        pyro.infer.RenyiELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_pyros_own_elbos_are_accepted(loss, declare):
    program = linear_program(declare)
    before, after = train(SVI(program.model, program.guide, adam(0.05), loss), Y - 5, steps=200)
    assert after < before
    assert program.encoder.weight[0, 0].item() == pytest.approx(0.5, abs=0.1)


def test_a_function_is_a_loss():
    program = linear_program(declare=False)
    elbo = pyro.infer.Trace_ELBO()
    svi = SVI(program.model, program.guide, adam(), elbo.differentiable_loss)
    before, after = train(svi, Y - 5)
    assert after < before


def test_parameters_that_only_some_calls_reach_train_when_they_are_reached():
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    modules = [[first], [second]]  # out of sight of names and closures

    def model(x, which):
        with pyro.plate("data", len(x)):
            loc = modules[which][0](torch.ones(1)) if which is not None else torch.zeros(())
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    svi = SVI(lambda x, which=0: model(x, which), lambda x, which=0: None, adam())
    svi.step(Y)
    before = second.weight.clone()
    svi.step(Y, which=1)
    assert not torch.equal(second.weight, before)


def test_optimizer_arguments_may_depend_on_the_parameter():
    program = vae()
    before = copy.deepcopy(program.state_dict())
    optim = pyro.optim.Adam(lambda name: {"lr": 0.0 if name.startswith("decoder") else 1e-2})
    SVI(program.model, program.guide, optim).step(X)
    moved = {name for name, value in program.state_dict().items() if (value != before[name]).any()}
    assert moved == {name for name in before if name.startswith("encoder")}


def test_a_torch_optimizer_trains_what_it_holds_and_the_rest_is_named():
    program = vae()
    before = program.decoder.layers[0].weight.clone()
    optim = torch.optim.Adam(program.encoder.parameters())
    with pytest.warns(UserWarning, match="does not hold decoder.layers.0.weight"):
        SVI(program.model, program.guide, optim).step(X)
    assert torch.equal(program.decoder.layers[0].weight, before)


def test_a_torch_optimizer_of_another_program_is_refused():
    program = vae()
    optim = torch.optim.Adam(vae().parameters())
    with pytest.raises(ValueError, match="holds none"):
        SVI(program.model, program.guide, optim).step(X)


def test_a_pyro_scheduler_steps_the_one_optimizer():
    program = vae()
    options = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": 0.5}
    scheduler = pyro.optim.ExponentialLR(options)
    svi = SVI(program.model, program.guide, scheduler)
    svi.step(X)
    scheduler.step()
    assert svi.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_clip_norm_bounds_the_norm_of_the_whole_gradient():
    program = vae()
    optim = pyro.optim.SGD({"lr": 1.0})
    before = [p.detach().clone() for p in program.parameters()]
    SVI(program.model, program.guide, optim, clip_norm=0.1).step(X)
    moves = [(p - b).norm() for p, b in zip(program.parameters(), before, strict=True)]
    assert torch.stack(moves).norm().item() == pytest.approx(0.1, rel=1e-3)


def test_pyros_clip_args_bound_each_gradient_by_itself():
    program = vae()
    optim = pyro.optim.SGD({"lr": 1.0}, {"clip_norm": 0.1})
    before = [p.detach().clone() for p in program.parameters()]
    SVI(program.model, program.guide, optim).step(X)
    moves = [(p - b).norm().item() for p, b in zip(program.parameters(), before, strict=True)]
    assert max(moves) == pytest.approx(0.1, rel=1e-3)
    assert sum(move > 0.09 for move in moves) > 1


def test_lr_schedule_is_a_factor_of_each_learning_rate():
    program = vae()
    svi = SVI(program.model, program.guide, adam(0.1), lr_schedule=cosine(1, 0, steps=2))
    rates = []
    for _ in range(3):
        svi.step(X)
        rates.append(svi.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.05, 0.0])


def test_the_loss_is_a_detached_scalar_that_formats_like_a_number():
    program = vae()
    loss = SVI(program.model, program.guide, adam()).step(X)
    assert loss.shape == () and not loss.requires_grad
    assert float(f"{loss:.3f}") == pytest.approx(loss.item(), abs=1e-3)


def test_evaluating_the_loss_moves_nothing():
    program = vae()
    svi = SVI(program.model, program.guide, adam())
    svi.step(X)
    before = copy.deepcopy(program.state_dict())
    svi.evaluate_loss(X)
    with torch.no_grad(), pytest.raises(RuntimeError, match="evaluate_loss"):
        svi.step(X)
    assert all(torch.equal(v, before[name]) for name, v in program.state_dict().items())


def test_a_loss_that_is_not_finite_names_step_and_site_and_changes_nothing():
    program = linear_program(declare=False)
    svi = SVI(program.model, program.guide, adam())
    svi.step(Y)
    before = copy.deepcopy(program.encoder.state_dict())
    with (
        pyro.validation_enabled(False),
        pytest.raises(FloatingPointError, match="step 1.*site 'x' of the model has a datum"),
    ):
        svi.step(Y.clone().index_fill_(0, torch.tensor([3]), torch.nan))
    assert all(torch.equal(v, before[name]) for name, v in program.encoder.state_dict().items())


def test_a_restored_state_goes_on_like_an_uninterrupted_training():
    one = vae()
    other = copy.deepcopy(one)
    straight = SVI(one.model, one.guide, adam())
    broken = SVI(other.model, other.guide, adam())
    for svi in (straight, broken):
        pyro.set_rng_seed(0)
        train(svi, X, steps=3)
    state = copy.deepcopy(broken.state_dict())
    broken = SVI(other.model, other.guide, adam())
    broken.load_state_dict(state)
    for svi in (straight, broken):
        pyro.set_rng_seed(1)
        train(svi, X, steps=3)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


def test_what_cannot_train_is_refused():
    with pytest.raises(TypeError, match="pyro.optim"):
        SVI(normal_model, no_guide, "adam")
    with pytest.raises(ValueError, match="clip_norm"):
        SVI(normal_model, no_guide, adam(), clip_norm=0)

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    expected = pyro.infer.Trace_ELBO().loss(model, no_guide, Y)
    assert SVI(model, no_guide, adam()).step(Y).item() == pytest.approx(expected)  # as in Pyro
    program = SimpleNamespace(model=model, guide=no_guide)
    with pytest.raises(ValueError, match="depends on no parameter"):
        fit(program, Y, epochs=1, progress=False)


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize(
    "loss",
    [
        pyro.infer.TraceGraph_ELBO(),
        pyro.infer.ReweightedWakeSleep(num_particles=2, vectorize_particles=False),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_loss_of_pyros_that_is_not_finite_changes_nothing_either(loss):
    program = linear_program(declare=True)
    svi = SVI(program.model, program.guide, adam(), loss)
    svi.step(Y)
    before = copy.deepcopy(program.encoder.state_dict())
    with (
        pyro.validation_enabled(False),
        pytest.raises(FloatingPointError, match="at step 1: site 'x' of the model has a datum"),
    ):
        svi.step(Y.clone().index_fill_(0, torch.tensor([3]), torch.nan))
    assert all(torch.equal(v, before[name]) for name, v in program.encoder.state_dict().items())


@pytest.mark.parametrize("compile", [False, CAPTURE], ids=["eager", "captured"])
def test_a_loss_that_is_not_finite_leaves_no_gradient_behind(compile):
    program = vae()
    svi = SVI(program.model, program.guide, adam(), compile=compile)
    for _ in range(4):
        svi.step(X)
    with pyro.validation_enabled(False), pytest.raises(FloatingPointError, match="step 4"):
        svi.step(torch.full_like(X, torch.nan))
    assert all(parameter.grad is None for parameter in program.parameters())


def test_a_class_for_a_loss_is_refused():
    with pytest.raises(TypeError, match=r"write Trace_ELBO\(\)"):
        SVI(normal_model, no_guide, adam(), Trace_ELBO)


@pytest.mark.parametrize("num_particles", [2.5, "3", None])
def test_a_number_of_particles_is_an_integer(num_particles):
    with pytest.raises(ValueError, match="num_particles of Trace_ELBO must be an integer, but is"):
        Trace_ELBO(num_particles)
