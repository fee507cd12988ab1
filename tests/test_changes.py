"""Graphs notice what changes between steps, and refuse what they cannot hold."""

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from pyro_vae.inference import SVI, Compile, Trace_ELBO, linear

CAPTURE = Compile(mode="captured")
X = torch.zeros(8)


def model():
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(9.0))


def guide():
    pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))


def adam():
    return pyro.optim.Adam({"lr": 0.1})


def trace_of(steps, change=None, at=10):
    """The parameter after each step, eagerly and captured, of which both must agree."""
    found = {}
    for compile in (False, CAPTURE):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        svi = SVI(model, guide, adam(), compile=compile)
        values = []
        for step in range(steps):
            if change is not None and step == at:
                change()
            svi.step()
            values.append(pyro.param("loc").item())
        found[bool(compile)] = values
    assert svi.mode == "captured"
    return found


CHANGES = {
    "assigned": lambda: pyro.get_param_store().__setitem__("loc", torch.tensor(-3.0)),
    "cleared": pyro.clear_param_store,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_captured_step_follows_the_store(change):
    found = trace_of(40, change)
    assert found[True] == found[False]


def test_a_captured_step_leaves_a_parameter_that_was_frozen_and_takes_it_up_again():
    net = nn.Linear(1, 1)

    def networked():
        pyro.sample("z", dist.Normal(net(torch.ones(1)).sum(), 1.0))

    svi = SVI(model, networked, adam(), compile=CAPTURE)
    values = []
    for step in range(60):
        net.bias.requires_grad_(not 20 <= step < 40)
        svi.step()
        values.append(net.bias.item())
    assert len(set(values[19:40])) == 1
    assert len(set(values[:20])) == len(set(values[40:])) == 20


def test_a_handler_around_a_step_works_on_it():
    found = {}
    for compile in (False, CAPTURE):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        svi = SVI(model, guide, adam(), compile=compile)
        losses = [svi.step().item() for _ in range(10)]
        with poutine.scale(scale=0.5):
            losses += [svi.step().item() for _ in range(10)]
        with poutine.trace(param_only=True) as seen:
            losses += [svi.step().item() for _ in range(10)]
        assert "loc" in seen.trace
        found[bool(compile)] = losses
    assert svi.mode == "captured" and found[True] == found[False]


def clip(z):
    y = z.clone()
    y[z > 1] = 1 + 0.1 * (z[z > 1] - 1)
    return y


BODIES = {
    "a count": lambda z: z + 0.1 * len((z > 1).nonzero()),
    "boolean indices": clip,
    "torch.where of one argument": lambda z: z + 0.1 * torch.where(z > 1)[0].sum(),
    "masked_select": lambda z: z + z.masked_select(z > 1).sum(),
    "unique": lambda z: z + len(torch.unique((z > 1).int())),
}


def run(body, compile, steps=40):
    pyro.set_rng_seed(0)
    w = nn.Parameter(torch.tensor(0.1))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.sample("x", dist.Normal(body(z), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x + w, 1.0))

    svi = SVI(model, guide, torch.optim.SGD([w], 1e-3), compile=compile)
    return [svi.step(X).item() for _ in range(steps)]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_sizes_that_depend_on_values_are_never_captured(body):
    eager = run(body, False)
    with pytest.warns(UserWarning, match=r"test_changes.py:\d+: the size of what .* depends on"):
        assert run(body, CAPTURE) == eager


def test_an_index_that_is_always_the_same_is_captured(recwarn):
    mask = torch.arange(8) % 2 == 0

    def every_second(z):
        return torch.cat([z[mask], z[~mask]])

    assert run(every_second, CAPTURE) == run(every_second, False)
    assert not recwarn.list


def test_one_hot_names_the_line_and_the_cure():
    classes = torch.arange(8) % 3

    def conditional(z):
        return z + F.one_hot(classes + (z > 100), 3).sum(-1)

    with pytest.warns(UserWarning, match=r"test_changes.py:\d+: F.one_hot .* torch.eye\(n\)\[y\]"):
        assert run(conditional, CAPTURE) == run(conditional, False)


def test_a_number_that_changes_at_each_step_is_named_as_the_reason():
    def numbered(x, weight):
        with poutine.scale(scale=1.0 + weight):
            model()

    svi = SVI(numbered, lambda x, weight: guide(), adam(), compile=CAPTURE)
    with pytest.warns(UserWarning, match=r"an argument that is no tensor changes .*\(now 0\.\d+"):
        for step in range(20):
            svi.step(X, step / 100)


def guide_in_doubles(x):
    loc = pyro.param("loc", torch.zeros(8, dtype=torch.float64))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, torch.ones((), dtype=torch.float64)))


def model_in_doubles(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(8, dtype=torch.float64), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_schedules_of_a_program_in_doubles_stay_doubles_in_a_graph():
    found = []
    for compile in (False, CAPTURE):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        loss = Trace_ELBO(beta=linear(0.1, 0.7, 13))
        svi = SVI(model_in_doubles, guide_in_doubles, adam(), loss, compile=compile)
        found.append([svi.step(X.double()).item() for _ in range(15)])
    assert svi.mode == "captured" and found[1] == found[0]
