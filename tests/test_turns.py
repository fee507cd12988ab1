"""Steps of the guide alone and of the model alone."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import posteriors, priors
from pyro_vae.inference import STL, SVI, Compile, MovingAverage, ScoreFunction, Spectral, Trace_ELBO
from pyro_vae.models import VAE, HierarchicalVAE, LadderVAE, LinearGaussian
from pyro_vae.networks import MLP

X = (torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
CAPTURED, COMPILED = Compile(mode="captured"), Compile()


def adam(lr=1e-2):
    return pyro.optim.Adam({"lr": lr})


def vae(**options):
    pyro.set_rng_seed(0)
    return VAE((1, 4, 4), latent_dim=2, hidden=(8,), **options)


def svi_of(program, *, optim=None, loss=None, **options):
    torch.manual_seed(1)
    return SVI(program.model, program.guide, optim or adam(), loss or Trace_ELBO(), **options)


def values(*modules):
    return [p.detach().clone() for module in modules for p in module.parameters()]


def same(one, other):
    return all(map(torch.equal, one, other))


OPTIMIZERS = {
    "Pyro's Adam": lambda program: adam(),
    "torch's Adam": lambda program: torch.optim.Adam(program.parameters(), lr=1e-2),
    "momentum": lambda program: torch.optim.SGD(program.parameters(), lr=1e-2, momentum=0.9),
}


@pytest.mark.parametrize("compile", [False, CAPTURED], ids=["eager", "captured"])
@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_a_step_of_the_one_leaves_the_other_where_it_is(optim, compile):
    program = vae()
    svi = svi_of(program, optim=OPTIMIZERS[optim](program), compile=compile)
    for _ in range(4):
        before = values(program.decoder), values(program.encoder)
        svi.step_guide(X)
        assert same(before[0], values(program.decoder))
        assert not same(before[1], between := values(program.encoder))
        svi.step_model(X)
        assert same(between, values(program.encoder))
        assert not same(before[0], values(program.decoder))
    assert svi.mode == ("eager" if not compile else compile.mode)
    assert svi.steps == 4


@pytest.mark.parametrize("loss", [Trace_ELBO(), ScoreFunction(2, baseline=MovingAverage())])
def test_captured_turns_are_eager_ones_bit_for_bit(loss):
    found = []
    for compile in (False, CAPTURED):
        program = vae()
        svi = svi_of(program, loss=copy.deepcopy(loss), compile=compile, clip_norm=1.0)
        losses = [float(take(X)) for _ in range(5) for take in (svi.step_guide, svi.step_model)]
        found.append((losses, values(program)))
    assert found[0][0] == found[1][0] and same(found[0][1], found[1][1])


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_compiled_turns_change_by_rounding_alone():
    found = []
    for compile in (False, COMPILED):
        program = vae()
        svi = svi_of(program, compile=compile)
        for _ in range(6):
            before = values(program.decoder)
            svi.step_guide(X)
            assert same(before, values(program.decoder))
            before = values(program.encoder)
            svi.step_model(X)
            assert same(before, values(program.encoder))
        found.append(values(program))
    assert svi.mode == "compiled" and all(kind.updates for kind in svi.graphs.kinds)
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_a_step_of_each_on_the_same_draw_is_by_the_gradient_of_the_whole():
    """By plain SGD, the model's step from the same parameters as the guide's."""
    whole, parts = vae(), vae()
    parts.load_state_dict(whole.state_dict())
    optim = [torch.optim.SGD(program.parameters(), lr=0.1) for program in (whole, parts)]
    svi = svi_of(whole, optim=optim[0])
    torch.manual_seed(2)
    svi.step(X)
    svi = svi_of(parts, optim=optim[1])
    start = copy.deepcopy(parts.encoder.state_dict())
    torch.manual_seed(2)
    svi.step_guide(X)
    moved = copy.deepcopy(parts.encoder.state_dict())
    parts.encoder.load_state_dict(start)
    torch.manual_seed(2)
    svi.step_model(X)
    parts.encoder.load_state_dict(moved)
    torch.testing.assert_close(values(whole), values(parts), rtol=0, atol=0)


@pytest.mark.parametrize("compile", [False, CAPTURED], ids=["eager", "captured"])
def test_the_guide_reaches_the_exact_posterior_while_the_model_stands(compile):
    torch.manual_seed(0)
    program = LinearGaussian((3,), 2, full_covariance=True).double()
    x = torch.randn(50, 3, dtype=torch.float64)
    exact = copy.deepcopy(program)
    exact.optimize_guide()
    model = [program.W, program.b, program.log_sigma]
    before = [p.detach().clone() for p in model]
    svi = svi_of(program, optim=adam(0.02), loss=STL(), compile=compile)
    for _ in range(600):
        svi.step_guide(x)
    assert same(before, model) and svi.steps == 0
    torch.testing.assert_close(program.V, exact.V, atol=2e-3, rtol=0)
    torch.testing.assert_close(program.D.tril(), exact.D.tril(), atol=2e-3, rtol=0)


def moved(program, *, guide):
    """The names of the parameters that a step of one moves."""
    svi = svi_of(program)
    before = {name: p.detach().clone() for name, p in program.named_parameters()}
    (svi.step_guide if guide else svi.step_model)(X)
    return {n for n, p in program.named_parameters() if not torch.equal(p, before[n])}


def test_what_both_use_belongs_to_the_model():
    ladder = LadderVAE((1, 4, 4), (3, 2), hidden=(8,))
    guide = moved(copy.deepcopy(ladder), guide=True)
    model = moved(ladder, guide=False)
    assert guide and model and not guide & model
    assert guide | model == {name for name, _ in ladder.named_parameters()}
    # the networks down are the model's, by which the guide goes down, too
    assert not any(name.startswith(("decoder", "prior", "likelihood")) for name in guide)


def test_a_guide_of_its_own_networks_is_parted_from_the_model_in_a_hierarchy():
    program = HierarchicalVAE((1, 4, 4), (3, 2), hidden=(8,))
    assert all("encoder" in name for name in moved(copy.deepcopy(program), guide=True))
    assert all("encoder" not in name for name in moved(program, guide=False))


def test_a_guide_without_parameters_of_its_own_is_refused():
    program = vae(prior=priors.VampPrior(2, x_shape=(1, 4, 4), components=5))
    with pytest.raises(ValueError, match="encoder.*is the guide's alone.*without guide_steps"):
        svi_of(program).step_guide(X)


def test_parameters_in_pyros_store_are_parted_too():
    pyro.clear_param_store()

    def model(x):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], scale).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    torch.manual_seed(0)
    x, svi = torch.randn(20, 1), SVI(model, guide, adam(), Trace_ELBO())
    svi.step_guide(x)
    assert pyro.param("scale").item() == 1 and pyro.param("loc").item() != 0
    loc = pyro.param("loc").item()
    svi.step_model(x)
    assert pyro.param("scale").item() != 1 and pyro.param("loc").item() == loc


def test_an_elbo_of_pyros_that_adds_its_gradient_itself_takes_turns():
    program = vae(prior=priors.UniformOneHot(2), posterior=posteriors.OneHot(2))
    svi = svi_of(program, loss=pyro.infer.TraceGraph_ELBO())
    before = values(program.decoder)
    svi.step_guide(X)
    assert same(before, values(program.decoder))


def test_a_penalty_moves_what_has_its_turn_alone():
    program = vae()
    svi = svi_of(program, penalty=Spectral(1.0))
    before = values(program.decoder)
    svi.step_guide(X)
    assert same(before, values(program.decoder))


def test_looking_for_the_guides_own_changes_no_random_number_and_no_average():
    states = []
    for turn in (False, True):
        program = vae(encoder=lambda i, o: MLP(i, o, hidden=(8,), batch_norm=True))
        svi = svi_of(program)
        (svi.step_guide if turn else svi.step)(X)
        norm = next(part for part in program.modules() if isinstance(part, nn.BatchNorm1d))
        states.append((torch.get_rng_state(), norm.running_mean.clone()))
    assert torch.equal(states[0][0], states[1][0]) and torch.equal(states[0][1], states[1][1])


def test_schedules_and_learning_rates_go_on_with_the_models_steps():
    seen = []

    def factor(step):
        seen.append(step)
        return 1.0

    svi = svi_of(vae(), lr_schedule=factor)
    for _ in range(2):
        svi.step_guide(X)
        svi.step_guide(X)
        svi.step_model(X)
    assert seen == [0, 0, 0, 1, 1, 1]
