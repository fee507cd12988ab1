"""SVI beside pyro.infer.SVI: store, optimizers, losses and arguments mean what they mean there."""

import copy
import warnings

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro import poutine
from pyro.contrib.easyguide import EasyGuide
from pyro.contrib.gp.kernels import RBF
from pyro.infer import Predictive
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoNormal, AutoNormalMessenger
from pyro.nn import PyroModule, PyroParam
from torch import nn

from pyro_vae.inference import SVI, Compile, Trace_ELBO

X = torch.full((20,), 5.0)
CAPTURE = Compile(mode="captured")


def adam(lr=0.2):
    return pyro.optim.Adam({"lr": lr})


def model(x=None):
    """z ~ N(0, 10), x ~ N(z, 1): with 20 data of one value the posterior mean is that value."""
    z = pyro.sample("z", dist.Normal(0.0, 10.0))
    with pyro.plate("d", 20):
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x=None):
    loc = pyro.param("loc", torch.tensor(0.0))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
    pyro.sample("z", dist.Normal(loc, scale))


def drawn(guide):
    return Predictive(model, guide=guide, num_samples=300)()["z"].mean().item()


@pytest.mark.parametrize("autoguide", [AutoNormal, AutoDiagonalNormal])
@pytest.mark.parametrize("compile", [False, CAPTURE], ids=["eager", "captured"])
def test_two_guides_of_one_class_keep_their_own_parameters(autoguide, compile):
    guides = [autoguide(model), autoguide(model)]
    for each, at in zip(guides, (5.0, -5.0), strict=True):
        svi = SVI(model, each, adam(), compile=compile)
        for _ in range(100):
            svi.step(torch.full((20,), at))
    for each, at in zip(guides, (5.0, -5.0), strict=True):
        assert each.median()["z"].item() == pytest.approx(at, abs=0.5)
        assert drawn(each) == pytest.approx(at, abs=0.5)


def test_guides_that_train_in_turns_keep_their_own_parameters_too():
    guides = [AutoNormal(model), AutoNormal(model)]
    svis = [SVI(model, each, adam(), compile=CAPTURE) for each in guides]
    for _ in range(100):
        for svi, at in zip(svis, (5.0, -5.0), strict=True):
            svi.step(torch.full((20,), at))
    assert [drawn(each) for each in guides] == pytest.approx([5.0, -5.0], abs=0.5)
    assert pyro.param("AutoNormal.locs.z").item() == pytest.approx(-5.0, abs=0.5)  # the last


def test_a_guide_takes_over_what_was_loaded_into_the_store(tmp_path):
    svi = SVI(model, AutoNormal(model), adam())
    for _ in range(100):
        svi.step(X)
    pyro.get_param_store().save(str(tmp_path / "store"))
    pyro.clear_param_store()
    pyro.get_param_store().load(str(tmp_path / "store"))
    fresh = AutoNormal(model)
    SVI(model, fresh, adam(1e-9)).step(X)
    assert fresh.median()["z"].item() == pytest.approx(5.0, abs=0.5)


def test_the_store_holds_what_was_trained_under_pyros_names():
    decoder = nn.Linear(1, 1)

    def guide_of_networks(x=None):
        pyro.module("decoder", decoder)
        pyro.sample("z", dist.Normal(decoder(torch.ones(1)).sum(), 1.0))

    names = {}
    for kind in (pyro.infer.SVI, SVI):
        pyro.clear_param_store()
        asked = []

        def options(name, asked=asked):
            asked.append(name)
            return {"lr": 0.1}

        # of one argument, as Pyro counts them
        optim = pyro.optim.Adam(lambda name, options=options: options(name))
        optim.pt_optim_args_argc = 1
        kind(model, guide_of_networks, optim, pyro.infer.Trace_ELBO()).step(X)
        names[kind] = set(pyro.get_param_store().keys()), set(asked), set(optim.get_state())
    assert names[SVI] == names[pyro.infer.SVI]


def test_a_saved_optimizer_goes_on_and_is_pyros(tmp_path):
    """Ours saves, Pyro's goes on, and the other way round: the parameters are the same."""
    found = []
    for first, second in [(SVI, pyro.infer.SVI), (pyro.infer.SVI, SVI)]:
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        optim = adam()
        svi = first(model, guide, optim, pyro.infer.Trace_ELBO())
        for _ in range(10):
            svi.step(X)
        optim.save(str(tmp_path / "optim"))
        loaded = adam()
        loaded.load(str(tmp_path / "optim"))
        svi = second(model, guide, loaded, pyro.infer.Trace_ELBO())
        for _ in range(10):
            svi.step(X)
        found.append(pyro.param("loc").item())
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_optimizer_knows_its_parameters_after_the_store_was_cleared():
    optim = adam()
    SVI(model, guide, optim).step(X)
    pyro.clear_param_store()
    assert set(optim.get_state()) == {"loc", "scale"}


def test_two_trainings_that_share_an_optimizer_share_its_state():
    found = []
    for kind in (pyro.infer.SVI, SVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        optim = adam()
        svis = [kind(model, guide, optim, pyro.infer.Trace_ELBO()) for _ in range(2)]
        for step in range(20):
            svis[step % 2].step(X)
        found.append(pyro.param("loc").item())
    assert found[1] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("each", [1, 3], ids=["each step", "each third step"])
def test_schedulers_step_as_pyros_do(each):
    rates, found = [], []
    for kind in (pyro.infer.SVI, SVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        options = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.2}, "gamma": 0.8}
        scheduler = pyro.optim.ExponentialLR(options)
        svi = kind(model, guide, scheduler, pyro.infer.Trace_ELBO())
        for step in range(12):
            svi.step(X)
            if step % each == 0:
                scheduler.step()
        made = scheduler.optim_objs.values()
        rates.append([one.optimizer.param_groups[0]["lr"] for one in made])
        found.append(pyro.param("loc").item())
    assert rates[1] == pytest.approx(rates[0])
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_a_parameter_that_a_step_does_not_reach_goes_on_as_in_pyro():
    def observed(x, y=None):
        p = pyro.param("p", torch.tensor(0.5), constraint=dist.constraints.unit_interval)
        if y is not None:
            pyro.sample("y", dist.Bernoulli(p), obs=y)

    found = []
    for kind in (pyro.infer.SVI, SVI):
        pyro.clear_param_store()
        svi = kind(observed, lambda x, y=None: None, adam(0.05), pyro.infer.Trace_ELBO())
        for _ in range(10):
            losses = [float(svi.step(0, torch.tensor(1.0))), float(svi.step(0))]
            assert losses[1] == 0.0
        found.append(pyro.param("p").item())
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[1] > 0.6


def test_hidden_and_frozen_parameters_do_not_move():
    def prior_model(x=None):
        z = pyro.sample("z", dist.Normal(pyro.param("prior", torch.tensor(0.0)), 10.0))
        with pyro.plate("d", 20):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    class Frozen(PyroModule):
        def __init__(self):
            super().__init__()
            self.fixed = nn.Parameter(torch.tensor(1.0), requires_grad=False)
            self.net = nn.Linear(1, 1)
            self.net.bias.requires_grad_(False)

        def forward(self, x=None):
            loc = self.net(torch.ones(1)).sum() + self.fixed
            pyro.sample("z", dist.Normal(loc, 1.0))

    frozen = Frozen().eval()
    bias = frozen.net.bias.item()
    svi = SVI(poutine.block(prior_model, hide=["prior"]), frozen, adam())
    for _ in range(5):
        svi.step(X)
    assert pyro.param("prior").item() == 0.0
    assert frozen.fixed.item() == 1.0 and frozen.net.bias.item() == bias
    assert not frozen.fixed.requires_grad and not frozen.net.bias.requires_grad
    assert list(svi.parameters) == ["net.weight"]


class Guide(PyroModule):
    def forward(self, x=None):
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))


class Easy(EasyGuide):
    def guide(self, x=None):
        group = self.group(match="z")
        group.sample("zs", dist.Normal(pyro.param("loc", torch.zeros(1)), 1.0).to_event(1))


LISTED = [Guide()]
GUIDES = {
    "an autoguide": lambda m: AutoNormal(m),
    "a messenger": lambda m: AutoNormalMessenger(m),
    "a PyroModule": lambda m: Guide(),
    "an EasyGuide": lambda m: Easy(m),
    "a module in a list": lambda m: lambda x=None: LISTED[0](x),
}


@pytest.mark.parametrize("make", GUIDES.values(), ids=GUIDES)
def test_pyro_param_stands_beside_every_kind_of_guide(make):
    def with_scale(x=None):
        scale = pyro.param("s", torch.tensor(1.0), constraint=dist.constraints.positive)
        z = pyro.sample("z", dist.Normal(0.0, 10.0))
        with pyro.plate("d", 20):
            pyro.sample("x", dist.Normal(z, scale), obs=x)

    found = []
    for kind in (pyro.infer.SVI, SVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        svi = kind(with_scale, make(with_scale), adam(0.1), pyro.infer.Trace_ELBO())
        for _ in range(30):
            svi.step(X)
        found.append({name: value.tolist() for name, value in pyro.get_param_store().items()})
    assert found[1].keys() == found[0].keys() and found[1]["s"] != 1.0
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-4, abs=1e-4)


def with_network(x):
    with pyro.plate("d", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


PARTICLES = {"num_particles": 4, "vectorize_particles": True, "max_plate_nesting": 1}
LOSSES = {
    "Trace_MMD": lambda: pyro.infer.Trace_MMD(kernel=RBF(2), mmd_scale=10.0, **PARTICLES),
    "JitTrace_ELBO": lambda: pyro.infer.JitTrace_ELBO(),
    "JitTraceMeanField_ELBO": lambda: pyro.infer.JitTraceMeanField_ELBO(),
    "JitTraceGraph_ELBO": lambda: pyro.infer.JitTraceGraph_ELBO(),
    "TraceTailAdaptive_ELBO": lambda: pyro.infer.TraceTailAdaptive_ELBO(**PARTICLES),
    "ReweightedWakeSleep": lambda: pyro.infer.ReweightedWakeSleep(num_particles=4),
    "RenyiELBO": lambda: pyro.infer.RenyiELBO(alpha=0.5, **PARTICLES),
    "TraceGraph_ELBO": lambda: pyro.infer.TraceGraph_ELBO(),
    "EnergyDistance": lambda: pyro.infer.EnergyDistance(num_particles=4),
}


@pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)
@pytest.mark.filterwarnings("ignore")  # of torch, that its tracer is old
def test_every_loss_of_pyros_trains_as_under_its_own_svi(make):
    found = []
    for kind in (pyro.infer.SVI, SVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        encoder = nn.Linear(2, 4)
        before = encoder.weight.detach().clone()

        def encoding(x, encoder=encoder):
            pyro.module("encoder", encoder)
            loc, log_scale = encoder(x).chunk(2, -1)
            with pyro.plate("d", len(x)):
                pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

        loss = make()
        if kind is pyro.infer.SVI and type(loss).__name__.startswith("Jit"):
            loss = getattr(pyro.infer, type(loss).__name__.removeprefix("Jit"))()
        svi = kind(with_network, encoding, adam(0.01), loss)
        for _ in range(3):
            svi.step(torch.randn(8, 2))
        assert not torch.equal(encoder.weight, before)
        found.append(encoder.weight.detach())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


def test_the_arguments_and_results_are_pyros():
    svi = SVI(model, guide, adam(), pyro.infer.Trace_ELBO())
    assert isinstance(svi, pyro.infer.SVI)
    assert isinstance(svi.loss(model, guide, X), float)
    assert isinstance(svi.loss_and_grads(model, guide, X), float)
    loss = svi.step(X)
    assert round(loss, 2) == round(loss.item(), 2) and str(loss) == str(loss.item())
    assert isinstance(loss + 1, torch.Tensor) and type(loss + 1) is torch.Tensor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        deprecated = SVI(model, guide, adam(), Trace_ELBO(), num_samples=3, num_steps=2)
        assert len(deprecated.run(X).exec_traces) == 3 and deprecated.steps == 2
    elbo = pyro.infer.Trace_ELBO()
    one = SVI(model, guide, adam(), lambda *args: 0.0, loss_and_grads=elbo.loss_and_grads)
    before = pyro.param("loc").item()
    one.step(X)
    assert pyro.param("loc").item() != before
    assert Trace_ELBO(strict_enumeration_warning=False) is not None


def test_a_parameter_with_gaps_in_its_memory_is_trained_as_by_pyro_and_nothing_else_written():
    memory = torch.zeros(40)
    net = nn.Module()
    net.w = nn.Parameter(memory[::2])

    def strided(x):
        pyro.module("net", net)
        pyro.sample("x", dist.Normal(net.w, 1.0).to_event(1), obs=torch.linspace(-1, 1, 20))

    svi = SVI(strided, lambda x: None, adam(0.1), pyro.infer.Trace_ELBO())
    with pytest.warns(UserWarning, match="'net.w' has gaps or overlaps in its memory"):
        for _ in range(20):
            svi.step(X)
    assert memory.abs().max() == 0


def test_a_convolution_with_the_channels_last_is_trained():
    net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    before = net.weight.detach().clone()

    def images(x):
        pyro.module("net", net)
        with pyro.plate("d", len(x)):
            pyro.sample("x", dist.Normal(net(x), 1.0).to_event(3), obs=torch.zeros(2, 4, 2, 2))

    svi = SVI(images, lambda x: None, adam(0.1))
    for _ in range(3):
        svi.step(torch.ones(2, 3, 4, 4))
    assert (net.weight - before).abs().min() > 1e-3


def test_lbfgs_and_a_text_for_a_loss_are_refused_in_a_sentence():
    weight = torch.zeros(1, requires_grad=True)
    with pytest.raises(ValueError, match="LBFGS evaluates the loss several times a step"):
        SVI(model, guide, torch.optim.LBFGS([weight]))
    with pytest.raises(ValueError, match="the loss is 'Trace_ELBO', but must be an estimator"):
        SVI(model, guide, adam(), "Trace_ELBO")


def test_data_that_require_a_gradient_are_not_trained():
    x = torch.full((20,), 5.0, requires_grad=True)
    svi = SVI(model, guide, adam())
    svi.step(x)
    assert set(svi.parameters) == {"loc", "scale"} and torch.equal(x.detach(), X)


def test_a_module_and_its_copy_train_apart():
    class Scaled(PyroModule):
        def __init__(self):
            super().__init__()
            self.loc = PyroParam(torch.tensor(0.0))

        def forward(self, x=None):
            pyro.sample("z", dist.Normal(self.loc, 0.1))

    one = Scaled()
    svi = SVI(model, one, adam())
    for _ in range(50):
        svi.step(X)
    other = copy.deepcopy(one)
    svi = SVI(model, other, adam())
    for _ in range(100):
        svi.step(-X)
    assert [drawn(one), drawn(other)] == pytest.approx([5.0, -5.0], abs=0.5)


def test_programs_that_share_a_network_may_be_followed_by_others_of_the_same_names():
    class Around(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.decoder = net

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).expand([len(x), 1]).to_event(1))

    def another(net):
        program = Around(net)
        program.net = program.decoder
        del program.decoder
        program.model = lambda x: Around(net).model(x)
        return program

    shared, own = nn.Linear(1, 1), nn.Linear(1, 1)
    for program in (another(shared), Around(shared), another(own), Around(own)):
        before = [parameter.clone() for parameter in program.parameters()]
        SVI(program.model, program.guide, adam(), Trace_ELBO()).step(X[:, None])
        assert all(map(torch.ne, before, program.parameters()))


@pytest.mark.parametrize("autoguide", [AutoNormal, AutoDiagonalNormal])
def test_pyros_mean_field_is_captured_as_it_is(autoguide):
    """Of a constrained latent, whose Jacobian it leaves out, too."""

    def positive(x=None):
        z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
        with pyro.plate("d", 20):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    found = []
    for kind, options in ((pyro.infer.SVI, {}), (SVI, {}), (SVI, {"compile": CAPTURE})):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        loss = pyro.infer.TraceMeanField_ELBO()
        svi = kind(positive, autoguide(positive), adam(0.05), loss, **options)
        found.append([float(svi.step(X)) for _ in range(15)])
    assert svi.mode == "captured"
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-5)


def test_a_parameter_of_two_names_is_stepped_once():
    found = []
    for kind in (pyro.infer.SVI, SVI):
        pyro.clear_param_store()
        shared = nn.Linear(1, 1)
        nn.init.ones_(shared.weight)
        nn.init.zeros_(shared.bias)

        def twice(x=None, shared=shared):
            pyro.module("one", shared)
            pyro.module("other", shared)
            pyro.sample("z", dist.Normal(shared(torch.ones(1)).sum(), 1.0))

        pyro.set_rng_seed(0)
        svi = kind(model, twice, adam(0.1), pyro.infer.Trace_ELBO())
        for _ in range(10):
            svi.step(X)
        found.append(shared.weight.item())
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_two_trainings_on_one_module_do_not_meet_each_others_gradients():
    """As in semi-supervised programs, whose second loss reaches nothing for some batches."""
    found = []
    for kind in (pyro.infer.SVI, SVI):
        pyro.clear_param_store()
        net = nn.Linear(1, 1)
        nn.init.zeros_(net.weight), nn.init.zeros_(net.bias)

        def first(y=None, net=net):
            pyro.module("net", net)
            pyro.sample("x", dist.Normal(net(torch.ones(1))[0], 1.0), obs=torch.tensor(5.0))

        def second(y=None, net=net):
            pyro.module("net", net)
            if y is not None:
                pyro.sample("y", dist.Normal(net(torch.ones(1))[0], 1.0), obs=y)

        optim = pyro.optim.SGD({"lr": 0.1})
        svis = [
            kind(m, lambda y=None: None, optim, loss())
            for m in (first, second)
            for loss in (pyro.infer.Trace_ELBO, pyro.infer.TraceGraph_ELBO)
        ]
        for _ in range(3):
            for svi in svis:
                svi.step()
        found.append(net.bias.item())
    assert found[1] == pytest.approx(found[0])


def test_a_value_assigned_within_a_step_stays():
    """As TraceGraph_ELBO does with a baseline that is a moving average."""

    def discrete(x=None):
        infer = {"baseline": {"use_decaying_avg_baseline": True, "baseline_beta": 0.9}}
        p = pyro.param("p", torch.tensor(0.0))
        pyro.sample("k", dist.Bernoulli(logits=p), infer=infer)

    def observed(x=None):
        k = pyro.sample("k", dist.Bernoulli(0.3))
        pyro.sample("x", dist.Normal(2 * k, 1.0), obs=torch.tensor(1.7))

    found = []
    for kind in (pyro.infer.SVI, SVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        svi = kind(observed, discrete, adam(0.1), pyro.infer.TraceGraph_ELBO())
        for _ in range(5):
            svi.step()
        found.append({name: value.item() for name, value in pyro.get_param_store().items()})
    assert len(found[0]) == 2 and found[1] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("kind", [pyro.infer.SVI, SVI])
def test_an_autoguide_of_a_module_trains_with_local_parameters(kind):
    class Model(PyroModule):
        def forward(self):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(3.0))

    with pyro.settings.context(module_local_params=True):
        program = Model()
        guide = AutoDelta(program)
        svi = kind(program, guide, pyro.optim.SGD({"lr": 0.1}), pyro.infer.Trace_ELBO())
        losses = [float(svi.step()) for _ in range(6)]
    assert losses == sorted(losses, reverse=True) and len(set(losses)) == 6
