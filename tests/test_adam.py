"""Adam by its kernel and within a graph: torch's own numbers, and torch's own step if watched."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.optim import SGD, Adam, Adamax, AdamW, lr_scheduler

from pyro_vae.inference import SVI, Compile
from pyro_vae.inference.training import AdamInGraph, adam, adamax, take_step


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    sizes = [(3, 4), (5,), ()]
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in sizes]


def stepped(optimizer, step, num_steps=5):
    """The parameters after some steps, in which one has no gradient at first."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    generator = torch.Generator().manual_seed(1)
    for i in range(num_steps):
        for j, parameter in enumerate(params):
            gradient = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.grad = None if j == 1 and i < 2 else gradient
        step(optimizer)
    return [p.detach().clone() for p in params]


BUILDS = {
    "Adam": lambda p: Adam(p, lr=0.1, fused=True),
    "its arguments": lambda p: Adam(
        p, lr=0.1, betas=(0.5, 0.8), eps=1e-3, weight_decay=0.1, maximize=True, fused=True
    ),
    "AdamW": lambda p: AdamW(p, lr=0.1, weight_decay=0.3, fused=True),
    "groups": lambda p: Adam(
        [{"params": p[:1], "lr": 0.5}, {"params": p[1:], "betas": (0.1, 0.2)}], fused=True
    ),
    "AMSGrad": lambda p: Adam(p, lr=0.1, amsgrad=True, fused=True),
    "not fused": lambda p: Adam(p, lr=0.1, foreach=False),
    "a tensor's rate": lambda p: Adam(p, lr=torch.tensor(0.1), fused=True),
    "SGD": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "Adamax": lambda p: Adamax(p, lr=0.1),
    "Adamax's arguments": lambda p: Adamax(
        p, lr=0.1, betas=(0.5, 0.8), eps=1e-3, weight_decay=0.1, maximize=True
    ),
    "Adamax's groups": lambda p: Adamax([{"params": p[:1], "lr": 0.5}, {"params": p[1:]}]),
    "Adamax of tensors' lists": lambda p: Adamax(p, lr=0.1, foreach=True),
}


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_torchs_step(build, dtype):
    one, other = build(parameters(dtype)), build(parameters(dtype))
    found, known = stepped(one, take_step), stepped(other, lambda optimizer: optimizer.step())
    assert all(map(torch.equal, found, known))
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_a_fused_adam_takes_the_short_way_and_goes_on_from_a_saved_state(monkeypatch):
    one = Adam(parameters(), lr=0.1, fused=True)
    stepped(one, take_step, 3)
    other = Adam(copy.deepcopy(one.param_groups[0]["params"]), fused=True)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    calls, kernel = [], adam._by_kernel
    monkeypatch.setattr(adam, "_by_kernel", lambda *args: (calls.append(1), kernel(*args)))
    assert all(map(torch.equal, stepped(one, take_step, 3), stepped(other, take_step, 3)))
    assert len(calls) == 6


@pytest.mark.parametrize("watch", ["hook", "scheduler"])
def test_who_watches_torchs_step_sees_it(watch):
    optimizer, seen = Adam(parameters(), lr=0.1, fused=True), []
    if watch == "hook":
        optimizer.register_step_post_hook(lambda *_: seen.append(1))
    else:
        scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    stepped(optimizer, take_step, 3)
    if watch == "hook":
        assert len(seen) == 3
    else:
        scheduler.step()  # which warns if it saw no step of the optimizer
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_adamaxes_of_pyro_are_stepped_by_one_call(monkeypatch):
    params, gradients = parameters(), [torch.ones_like(p) for p in parameters()]
    apart, together = ([Adamax([p], lr=0.1) for p in parameters()] for _ in range(2))
    calls, step = [], adamax.adamax
    monkeypatch.setattr(adamax, "adamax", lambda *args, **kw: (calls.append(1), step(*args, **kw)))
    for _ in range(3):
        for optimizers in (apart, together):
            for optimizer, gradient in zip(optimizers, gradients, strict=True):
                optimizer.param_groups[0]["params"][0].grad = gradient
        for optimizer in apart:
            optimizer.step()
        take_step(*together)
    assert len(calls) == 2  # the first step makes the states
    found, known = ([o.param_groups[0]["params"][0] for o in each] for each in (together, apart))
    assert all(map(torch.equal, found, known)) and not torch.equal(found[0], params[0])


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
@pytest.mark.parametrize("mode", ["captured", "compiled"])
def test_adamax_steps_after_a_graph_as_after_an_eager_run(mode):
    def program(x):
        loc = pyro.param("loc", torch.zeros(3))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    x, found = torch.tensor([[1.0, 2.0, -0.5]]), []
    for compile in (False, Compile(mode=mode)):
        pyro.clear_param_store()
        svi = SVI(program, lambda x: None, pyro.optim.Adamax({"lr": 0.1}), compile=compile)
        found.append([*(svi.step(x).item() for _ in range(6)), *pyro.param("loc").tolist()])
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert svi.mode == mode and not svi.graphs.kinds[0].updates


def in_graph(optimizer):
    """A step as a graph takes it, eagerly; torch's own where there is no state yet."""
    params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    step = AdamInGraph.of(optimizer, params)
    if step is None:
        return optimizer.step()
    with torch.no_grad():
        step.apply([p.grad for p in params], step.numbers(), torch.tensor(True))


@pytest.mark.parametrize("name", ["Adam", "its arguments", "AdamW", "groups"])
def test_a_graphs_step_is_torchs_to_rounding(name):
    build = BUILDS[name]
    one, other = build(parameters()), build(parameters())
    found, known = stepped(one, in_graph), stepped(other, lambda optimizer: optimizer.step())
    torch.testing.assert_close(found, known, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-5, atol=1e-6)


def started(build=BUILDS["Adam"], params=None):
    optimizer = build(params or parameters())
    stepped(optimizer, take_step, 3)
    return optimizer, [p for group in optimizer.param_groups for p in group["params"]]


def test_a_step_that_is_not_allowed_changes_nothing():
    optimizer, params = started()
    step = AdamInGraph.of(optimizer, params)
    before = [tensor.detach().clone() for tensor in step.state]
    gradients = [torch.full_like(p, torch.nan) for p in params]
    with torch.no_grad():
        step.apply(gradients, step.numbers(), torch.tensor(False))
    assert all(map(torch.equal, step.state, before))
    assert len(before) == 4 * len(params)


@pytest.mark.parametrize("name", ["AMSGrad", "not fused", "a tensor's rate", "SGD"])
def test_another_optimizer_has_no_step_in_a_graph(name):
    assert AdamInGraph.of(*started(BUILDS[name])) is None


def test_many_tensors_and_other_types_have_no_step_in_a_graph():
    many = [torch.nn.Parameter(torch.zeros(2)) for _ in range(101)]
    assert AdamInGraph.of(*started(params=many[:100])) is not None
    assert AdamInGraph.of(*started(params=many)) is None
    assert AdamInGraph.of(*started(params=parameters(torch.float64))) is None
    optimizer, _ = started()
    assert AdamInGraph.of(optimizer, parameters()) is None  # of others, which it does not hold
    assert AdamInGraph.of(Adam(many, fused=True), many[:2]) is None  # before its first step


@pytest.mark.parametrize(
    "change",
    [
        lambda optimizer: optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict())),
        lambda optimizer: optimizer.param_groups[0].update(eps=1e-3),
        lambda optimizer: optimizer.param_groups[0].update(lr=torch.tensor(0.1)),
        lambda optimizer: optimizer.add_param_group({"params": parameters()}),
        lambda optimizer: optimizer.register_step_pre_hook(lambda *_: None),
        lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5),
    ],
    ids=["loaded", "an argument", "a tensor's rate", "a group", "a hook", "a scheduler"],
)
def test_a_graphs_step_is_current_until_the_optimizer_is_another(change):
    optimizer, params = started()
    step = AdamInGraph.of(optimizer, params)
    optimizer.param_groups[0]["lr"] = 0.3  # an input of the graph
    assert step.is_current()
    change(optimizer)
    assert not step.is_current()
