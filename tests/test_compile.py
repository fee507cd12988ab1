"""Captured and compiled steps: the same numbers as eager ones, and no state baked in unnoticed."""

import copy
import random
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.inference import (
    CIWAE,
    DIPVAE_I,
    DIPVAE_II,
    IWAE,
    MIWAE,
    MMD,
    PIWAE,
    STL,
    SVI,
    VIMCO,
    Compile,
    DReG,
    MovingAverage,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    TotalCorrelation,
    Trace_ELBO,
    TraceMeanField_ELBO,
    linear,
)
from pyro_vae.inference.graphs import compiler, passes, products
from pyro_vae.inference.graphs.watch import Watch
from pyro_vae.models import VAE
from pyro_vae.precision import layers_in_bfloat16

from .lone_estimators import lone_estimators
from .twins import BATCHES as X
from .twins import CAPTURE, captured_like_eager, train


def vae(hidden=(16,), **options):
    return VAE((1, 4, 4), latent_dim=3, hidden=hidden, **options)


@pytest.mark.parametrize(
    "loss",
    [
        Trace_ELBO(),
        Trace_ELBO(num_particles=3, vectorize_particles=True, free_bits=0.1),
        Trace_ELBO(num_particles=2),
        TraceMeanField_ELBO(),
        STL(),
        IWAE(5),
        DReG(5),
        MIWAE(num_particles=8),
        PIWAE(num_particles=8),
        CIWAE(5),
        Renyi(5, alpha=0.5),
        ScoreFunction(4),
        VIMCO(4),
        ReweightedWakeSleep(4),
        TotalCorrelation(num_data=64),
        MMD(),
        DIPVAE_I(),
        DIPVAE_II(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_captured_step_is_the_eager_one_bit_for_bit(loss):
    captured_like_eager(vae(), loss)


def test_pyros_trace_elbo_is_captured_as_ours():
    program = vae()
    twin = copy.deepcopy(program)
    _, eager = train(program, pyro.infer.Trace_ELBO(), compile=False)
    svi, captured = train(twin, pyro.infer.Trace_ELBO(), compile=CAPTURE)
    assert svi.graphs.refusal is None
    assert captured == pytest.approx(eager, rel=1e-6)


def test_every_estimator_is_captured_above():
    tested = test_a_captured_step_is_the_eager_one_bit_for_bit.pytestmark[0].args[1]
    assert {*lone_estimators()} <= {type(loss) for loss in tested}


def test_schedules_are_inputs_of_the_graph():
    schedules = {"beta": linear(0, 1, 7), "free_bits": linear(1, 0, 14)}
    captured_like_eager(vae(), Trace_ELBO(**schedules, capacity=linear(0, 9, 20)))


def test_buffers_and_dropout_go_on_as_in_eager_steps():
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(),
        nn.Linear(8, 6), nn.Unflatten(1, (2, 3)),
    )  # fmt: skip
    captured_like_eager(vae(encoder=encoder), Trace_ELBO())


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
@pytest.mark.parametrize("mode", ["captured", "compiled"])
def test_a_moving_average_goes_on_as_in_eager_steps(mode):
    program, runs = vae(hidden=()), []
    for compile in (False, Compile(mode=mode)):
        loss = ScoreFunction(2, baseline=MovingAverage(0.5))
        svi, losses = train(copy.deepcopy(program), loss, compile, steps=70)  # one looks again
        runs.append([*losses, loss.baseline.value.item()])
    assert svi.mode == mode
    assert runs[1] == pytest.approx(runs[0], rel=1e-4 if mode == "compiled" else 0)


class TwoLayers(nn.Module):
    """z_2 -> z_1 -> x, guide bottom-up; a constrained pyro.param for the scale."""

    def __init__(self):
        super().__init__()
        self.up, self.top, self.down = nn.Linear(16, 4), nn.Linear(2, 4), nn.Linear(2, 16)

    def model(self, x):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z_2 = pyro.sample("z_2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z_1 = pyro.sample("z_1", dist.Normal(z_2, scale).to_event(1))
            logits = self.down(z_1).unflatten(-1, (1, 4, 4))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(3), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            loc, log_scale = self.up(x.flatten(1)).chunk(2, -1)
            z_1 = pyro.sample("z_1", dist.Normal(loc, log_scale.exp()).to_event(1))
            loc, log_scale = self.top(z_1).chunk(2, -1)
            pyro.sample("z_2", dist.Normal(loc, log_scale.exp()).to_event(1))


@pytest.mark.parametrize(
    "loss", [Trace_ELBO(), STL(), DReG(3)], ids=lambda loss: type(loss).__name__
)
def test_a_hierarchical_program_is_captured(loss):
    program = TwoLayers()
    twin = copy.deepcopy(program)
    _, eager = train(program, loss, compile=False)
    pyro.clear_param_store()
    _, captured = train(twin, loss, compile=CAPTURE)
    assert captured == eager


# Without a bias, whose gradient before BatchNorm is rounding alone, which Adam would blow up.
NORMALIZING = nn.Sequential(
    nn.Flatten(), nn.Linear(16, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6),
    nn.Unflatten(1, (2, 3)),
)  # fmt: skip


CONVOLUTIONS = nn.Sequential(
    nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
    nn.Conv2d(8, 6, 3, 2, 1), nn.Flatten(), nn.Unflatten(1, (2, 3)),
)  # fmt: skip
TRANSPOSED = nn.Sequential(
    nn.Unflatten(1, (3, 1, 1)),
    nn.ConvTranspose2d(3, 8, 3, 2, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
    nn.ConvTranspose2d(8, 1, 3, 2, 1, 1),
)  # fmt: skip


@pytest.fixture
def two_threads():
    """As users have them, for whom the compiler writes loops that are shared among threads."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
@pytest.mark.parametrize(
    "networks",
    [
        {"encoder": CONVOLUTIONS, "hidden": (4100,)},  # products of a million multiplications
        {"encoder": NORMALIZING, "decoder": TRANSPOSED},
    ],
    ids=["convolutions and a large MLP", "an MLP and transposed convolutions"],
)
def test_a_compiled_step_is_the_eager_one_to_rounding(networks, two_threads, monkeypatch):
    monkeypatch.setattr(products, "fastest", lambda name, ways: "oneDNN")
    monkeypatch.setattr(products, "_by_python", lambda *_: pytest.fail("a product went by Python"))
    program = vae(**copy.deepcopy(networks))
    twin = copy.deepcopy(program)
    loss = Trace_ELBO(beta=linear(0, 1, 7))
    _, eager = train(program, loss, compile=False)
    svi, compiled = train(twin, loss, compile=Compile())
    assert svi.mode == "compiled"
    assert compiled == pytest.approx(eager, rel=1e-5)
    other = twin.state_dict()  # with the buffers
    for name, value in program.state_dict().items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_adam_within_the_graph_is_the_eager_one():
    """Through a schedule, a loss that is not finite, and a state that is loaded midway."""
    program, runs = vae(hidden=()), {}
    adam = {"lr": 1e-2, "weight_decay": 0.01, "betas": (0.8, 0.99)}
    for compile in (False, Compile()):
        twin = copy.deepcopy(program)
        svi = SVI(
            twin.model,
            twin.guide,
            pyro.optim.AdamW(adam),
            lr_schedule=lambda step: 1 / (1 + step),
            compile=compile,
        )
        pyro.set_rng_seed(1)
        losses = [svi.step(X[i % 4]).item() for i in range(6)]
        if compile:
            assert [kind.updates for kind in svi.graphs.kinds] == [True]
            assert all(p.grad is None for p in twin.parameters())
        before = [tensor.clone() for tensor in (*twin.parameters(), *moments(svi))]
        with pytest.raises(FloatingPointError), pyro.validation_enabled(False):
            svi.step(torch.full_like(X[0], torch.nan))
        assert all(map(torch.equal, before, (*twin.parameters(), *moments(svi))))
        pyro.set_rng_seed(2)
        losses += [svi.step(X[i % 4]).item() for i in range(3)]
        svi.load_state_dict(copy.deepcopy(svi.state_dict()))  # other tensors than the graph's
        losses += [svi.step(X[i % 4]).item() for i in range(3)]
        if compile:
            assert svi.mode == "compiled"
            assert [kind.updates for kind in svi.graphs.kinds] == [False]
        runs[bool(compile)] = losses, twin.state_dict(), moments(svi)
    torch.testing.assert_close(runs[True], runs[False], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_the_function_that_calls_the_kernels_is_not_optimized(monkeypatch):
    """It grows with the program, and the time that a C++ compiler takes to optimize it faster."""
    from torch._inductor.codecache import CppWrapperCodeCache as Cache

    codes, load = [], Cache.load_pybinding_async.__func__

    def noted(cls, *args, **kwargs):
        codes.append(kwargs["main_code"])
        return load(cls, *args, **kwargs)

    monkeypatch.setattr(Cache, "load_pybinding_async", classmethod(noted))
    program = VAE((3,), latent_dim=2, hidden=())
    adam = pyro.optim.Adam({"lr": 1e-3})
    svi = SVI(program.model, program.guide, adam, Trace_ELBO(), compile=True)
    for _ in range(3):
        svi.step(torch.rand(4, 3).round())
    (code,) = codes
    before, _ = code.split("void inductor_entry_impl(")
    assert before.endswith(compiler._NOT_OPTIMIZED)
    assert "load_pybinding" not in vars(Cache)  # other users of the compiler have it as it was


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
def test_a_product_with_a_part_of_a_matrix_is_of_dense_weights(monkeypatch):
    """As the weights' gradient of a layer of a concatenation, else thousands of times as long."""
    from torch._inductor import mkldnn_ir

    strides, make = [], mkldnn_ir.LinearUnary.__init__

    def noted(self, layout, tensors, *rest):
        strides.append(tuple(tensors[1].get_stride()))
        make(self, layout, tensors, *rest)

    monkeypatch.setattr(mkldnn_ir.LinearUnary, "__init__", noted)
    monkeypatch.setattr(products, "fastest", lambda name, ways: "oneDNN")
    products.register_products()
    x, wide = torch.randn(160, 128), torch.randn(160, 65)

    def part_times(wide):
        return x.T @ wide[:, :64]

    product = torch._inductor.compile(passes.prepare(make_fx(part_times)(wide)), [wide])
    torch.testing.assert_close(product(wide), part_times(wide), rtol=1e-4, atol=1e-4)
    assert set(strides) in ({(160, 1)}, {(1, 64)})


def moments(svi):
    return [tensor.clone() for state in svi.optimizer.state.values() for tensor in state.values()]


def test_a_machine_without_a_compiler_runs_the_captured_graph(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no C++ compiler\nat all")

    monkeypatch.setattr(torch._inductor, "compile", broken)
    program = vae()
    twin = copy.deepcopy(program)
    _, eager = train(program, Trace_ELBO(), compile=False)
    with pytest.warns(UserWarning, match="uncompiled: no C\\+\\+ compiler$"):
        svi, captured = train(twin, Trace_ELBO(), compile=True)
    assert captured == eager
    assert svi.mode == "captured"
    assert "captured, 11 calls of (16, 1, 4, 4) float32: no C++ compiler" in str(svi.graphs)


def test_each_shape_has_a_graph_and_a_rare_one_none():
    program = vae()
    svi, _ = train(program, Trace_ELBO(), CAPTURE, steps=18, batches=[X[0], X[1], X[2][:5]])
    kinds = [(kind.mode, kind.calls) for kind in svi.graphs.kinds]
    assert kinds == [("captured", 11), ("eager", 6)]
    assert str(svi.graphs) == (
        "captured\n"
        "  captured, 11 calls of (16, 1, 4, 4) float32\n"
        "  eager, 6 calls of (5, 1, 4, 4) float32"
    )


def refused(program, sentence, loss=None, batches=X, steps=40):
    """Training runs eagerly after one warning, with the losses of a training without capture."""
    twin = copy.deepcopy(program) if isinstance(program, nn.Module) else program
    random.seed(0)
    np.random.seed(0)
    _, eager = train(twin, loss or Trace_ELBO(), compile=False, batches=batches, steps=steps)
    random.seed(0)
    np.random.seed(0)
    with pytest.warns(UserWarning, match=sentence) as warned:
        svi, losses = train(program, loss or Trace_ELBO(), CAPTURE, batches=batches, steps=steps)
    assert len(warned) == 1 and svi.graphs.mode == "eager"
    assert str(warned[0].message) == f"SVI runs eagerly, uncompiled: {svi.graphs.refusal}"
    return eager, losses


class Counting(VAE):
    calls = 0

    def model(self, x):
        self.calls += 1
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            h = self.decoder(z) * (1 + 0.01 * self.calls)
            return pyro.sample("x", self.likelihood(h), obs=x)


class Drawing(VAE):
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            h = self.decoder(z) * self.draw()
            return pyro.sample("x", self.likelihood(h), obs=x)


class PythonRandom(Drawing):
    def draw(self):
        return 1 + 0.1 * random.random()


class NumpyRandom(Drawing):
    def draw(self):
        return 1 + 0.1 * float(np.random.rand())


class DataDependent(Drawing):
    def guide(self, x):
        self.sparse = bool(x.mean() < 0.25)
        return super().guide(x)

    def draw(self):
        return 1.0 if self.sparse else 2.0


STATE = {"scale": 1.0}


class Global(Drawing):
    def draw(self):
        STATE["scale"] += 0.01
        return STATE["scale"]


@pytest.mark.parametrize(
    "kind, sentence",
    [
        (Counting, "'calls' changes again and again"),
        (PythonRandom, "random numbers of Python or numpy"),
        (NumpyRandom, "random numbers of Python or numpy"),
        (DataDependent, "runs eagerly, uncompiled"),
        (Global, "'STATE' changes again and again"),
    ],
)
def test_state_of_python_is_not_baked_in(kind, sentence):
    STATE["scale"] = 1.0
    eager, losses = refused(kind((1, 4, 4), 3, hidden=(8,)), sentence)
    if kind is not Global:
        assert len(set(losses)) > 30


class Changing(Drawing):
    """A program whose factor is of many kinds of Python state."""

    def __init__(self):
        super().__init__((1, 4, 4), 3, hidden=(8,))
        self.flag, self.inside, self.owned = 1.0, {"a": [1.0]}, SimpleNamespace(factor=1.0)

    def draw(self):
        return self.flag * self.inside["a"][0] * self.owned.factor * STATE["scale"] * TIMES


TIMES = 1.0


def set_times(program, value):
    global TIMES
    TIMES = value


def replace_the_decoder(program, value):
    spare = program.__dict__.setdefault("spare", (program.decoder, copy.deepcopy(program.decoder)))
    program.decoder = spare[value == 3.0]


CHANGES = {
    "an attribute": lambda program, value: setattr(program, "flag", value),
    "inside containers": lambda program, value: program.inside["a"].__setitem__(0, value),
    "of an object": lambda program, value: setattr(program.owned, "factor", value),
    "inside a global": lambda program, value: STATE.update(scale=value),
    "a global": set_times,
    "a module": replace_the_decoder,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_gets_a_graph_of_its_own(change):
    losses, base = {}, Changing()
    STATE["scale"] = 1.0
    for compile in (False, CAPTURE):
        program = copy.deepcopy(base)
        svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}), compile=compile)
        pyro.set_rng_seed(1)
        losses[compile] = []
        for step in range(60):
            change(program, 1.0 if step // 20 != 1 else 3.0)
            losses[compile].append(svi.step(X[0]).item())
    assert losses[False] == losses[CAPTURE]
    assert [kind.mode for kind in svi.graphs.kinds].count("captured") == 2


def test_a_step_looks_no_closer_where_nothing_changed(monkeypatch):
    svi, _ = train(VAE((1, 4, 4), 3, hidden=(8,)), Trace_ELBO(), CAPTURE, batches=X, steps=5)
    monkeypatch.setattr(Watch, "values", lambda _: pytest.fail("looked at every value"))
    svi.step(X[0])
    assert [(kind.mode, kind.calls) for kind in svi.graphs.kinds] == [("captured", 5)]


def test_a_watch_sees_a_part_go_into_evaluation_mode():
    program = vae()
    watch = Watch(program.model, program.guide)
    watch.values()
    assert watch.unchanged()
    program.likelihood.train(False)
    assert not watch.unchanged()


def test_a_module_that_goes_into_evaluation_mode_does_so_in_the_graph():
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 6), nn.Dropout(0.5), nn.Unflatten(1, (2, 3))
    )
    base = vae(encoder=encoder)
    losses = {}
    for compile in (False, CAPTURE):
        program = copy.deepcopy(base)
        svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}), compile=compile)
        pyro.set_rng_seed(1)
        losses[compile] = [svi.step(X[0]).item() for _ in range(5)]
        program.eval()
        losses[compile] += [svi.step(X[0]).item() for _ in range(15)]
    assert losses[False] == losses[CAPTURE]


def test_a_value_that_changes_at_every_step_is_named():
    program = vae()
    program.note = 0
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}), compile=CAPTURE)
    with pytest.warns(UserWarning, match="'note' changes again and again"):
        for step in range(20):
            program.note = step
            svi.step(X[0])


def test_what_no_value_shows_is_found_by_looking_again():
    hidden = iter([1.0] * 4 + [5.0] * 1000)  # an iterator has no value to watch

    class Hidden(Drawing):
        def draw(self):
            return next(hidden)

    with pytest.warns(UserWarning, match="no longer does what it did"):
        train(Hidden((1, 4, 4), 3, hidden=(8,)), Trace_ELBO(), CAPTURE, steps=70)


def test_enumeration_runs_eagerly():
    class Mixture(nn.Module):
        def __init__(self):
            super().__init__()
            self.locs = nn.Parameter(torch.tensor([-1.0, 1.0]))

        def model(self, x):
            with pyro.plate("data", len(x)):
                p = dist.Categorical(torch.ones(2) / 2)
                k = pyro.sample("k", p, infer={"enumerate": "parallel"})
                pyro.sample("x", dist.Normal(self.locs[k], 1.0), obs=x)

        def guide(self, x):
            pass

    loss = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    eager, losses = refused(
        Mixture(), "runs eagerly", loss=loss, batches=torch.randn(4, 16), steps=6
    )
    assert losses == eager


def test_two_programs_compiled_in_one_process_keep_apart():
    one, other = vae(), vae()
    before = copy.deepcopy(other.state_dict())
    train(one, Trace_ELBO(), CAPTURE)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    captured_like_eager(other, Trace_ELBO())


def test_a_loss_that_is_not_finite_is_named_in_a_captured_step_too():
    program = SimpleNamespace(model=vae().model, guide=vae().guide)
    svi, _ = train(program, Trace_ELBO(), CAPTURE)
    with pytest.raises(FloatingPointError, match="site 'x' of the model has a datum"):
        svi.step(torch.full_like(X[0], torch.nan))


@pytest.mark.parametrize("compile", [False, CAPTURE], ids=["eager", "captured"])
def test_bfloat16_rounds_the_layers_and_nothing_else(compile):
    """A layer's output is off by bfloat16's 2^-9 at most; the loss keeps its float32 digits."""
    program = vae(hidden=(4100,))
    twin = copy.deepcopy(program)
    _, exact = train(program, Trace_ELBO(), compile)
    pyro.set_rng_seed(1)
    optim = pyro.optim.Adam({"lr": 1e-3})
    svi = SVI(twin.model, twin.guide, optim, compile=compile, bfloat16=True)
    losses = [svi.step(X[i % len(X)]) for i in range(12)]
    assert all(loss.dtype == torch.float32 for loss in losses)
    found = [loss.item() for loss in losses]
    assert found != exact
    assert found == pytest.approx(exact, rel=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in twin.parameters())


def test_a_layer_in_bfloat16_is_the_product_of_rounded_factors():
    layer, x = nn.Linear(400, 300), torch.randn(10, 400)
    small = nn.Linear(4, 3)
    with layers_in_bfloat16():
        found = layer(x)
        outside = torch.mm(x, layer.weight.T)  # a density's product, such as a covariance's
        exact_too = small(x[:, :4])
    weight, bias, x_rounded = (t.bfloat16().double() for t in (layer.weight, layer.bias, x))
    exact = x_rounded @ weight.T + bias
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-3)
    assert torch.equal(outside, x @ layer.weight.T)
    assert torch.equal(exact_too, small(x[:, :4]))


def test_a_mode_of_compile_has_an_old_name_that_goes_on():
    assert Compile(fuse=False) == Compile(False) == Compile(mode="captured")
    assert Compile(fuse=True) == Compile()
    assert Compile().fuse and not Compile(mode="captured").fuse
    with pytest.raises(ValueError, match="mode is 'eager', but must be .* take compile=False"):
        Compile(mode="eager")


def test_the_report_of_eager_steps_says_why():
    program = vae()
    assert str(train(program, Trace_ELBO(), False, steps=1)[0].graphs) == "eager: compile is False"
    with pytest.warns(UserWarning, match="has a chunk_size"):
        svi, _ = train(program, IWAE(4, chunk_size=2), CAPTURE, steps=1)
    assert "IWAE has a chunk_size" in svi.graphs.refusal
    with pytest.warns(UserWarning, match="adds its gradient to the parameters itself"):
        svi, _ = train(program, pyro.infer.RenyiELBO(), CAPTURE, steps=1)
    assert "RenyiELBO adds its gradient" in svi.graphs.refusal
