"""What model and guide are given: x and y by name, by position otherwise, and never in silence."""

from functools import partial
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, pyro_method
from torch import nn

from pyro_vae.arguments import arguments, gives_labels, needs_labels, takes_labels
from pyro_vae.datasets import Split
from pyro_vae.inference import evaluate, fit, log_likelihood, reconstruct, sample
from pyro_vae.inference.checking import check
from pyro_vae.source import FunctionProgram

X, Y = torch.arange(3.0), torch.arange(3)


def pair(model, guide=None):
    return SimpleNamespace(model=model, guide=guide or model)


def letters(program, *data):
    """Which of x and y stand where."""
    return ["x" if part is X else "y" for part in arguments(program, *data)]


class Methods:
    def by_name(self, y, x): ...

    def by_position(self, xs, ys=None): ...

    @config_enumerate
    def enumerated(self, y, x): ...

    @poutine.broadcast
    def broadcast(self, xs, ys=None): ...

    def __call__(self, y, x): ...


class Module(nn.Module):
    def forward(self, y, x): ...


class Pyronic(PyroModule):
    def forward(self, xs, ys=None): ...

    @pyro_method
    def method(self, y, x): ...


def named(y, x): ...


def other(net, y, x): ...


@pytest.mark.parametrize(
    "model, expected",
    [
        (lambda x, y: None, "xy"),
        (lambda y, x: None, "yx"),
        (lambda xs, ys=None: None, "xy"),
        (lambda images, y: None, "xy"),
        (lambda y, images: None, "yx"),
        (lambda labels, x: None, "yx"),
        (lambda x, labels: None, "xy"),
        (lambda x, y=None, beta=1.0: None, "xy"),
        (lambda x, y, *, beta=1.0: None, "xy"),
        (lambda *args: None, "xy"),
        (lambda *args, **kwargs: None, "xy"),
        (lambda x, *rest: None, "xy"),
        (Methods().by_name, "yx"),
        (Methods().by_position, "xy"),
        (Methods().enumerated, "yx"),
        (Methods().broadcast, "xy"),
        (Methods(), "yx"),
        (Module(), "yx"),
        (Pyronic(), "xy"),
        (Pyronic().method, "yx"),
        (partial(named), "yx"),
        (partial(other, None), "yx"),
        (partial(lambda x, y, net: None, net=None), "xy"),
        (partial(Methods().by_name), "yx"),
        (partial(Module()), "yx"),
        (config_enumerate(named), "yx"),
        (poutine.scale(named, 2.0), "yx"),
        (poutine.block(Module()), "yx"),
        (poutine.scale(poutine.block(Methods().by_name), 2.0), "yx"),
        (FunctionProgram(named, named, {}).model, "yx"),
    ],
)
def test_data_and_labels_are_given_by_name_and_else_by_position(model, expected):
    assert "".join(letters(pair(model), X, Y)) == expected


@pytest.mark.parametrize(
    "model",
    [
        lambda x: None,
        lambda xs: None,
        lambda y: None,
        lambda x, y=None: None,
        lambda xs, ys=None: None,
        lambda x, beta=1.0: None,
        lambda x, *, y=None: None,
        lambda x, **options: None,
        lambda *args: None,
        partial(named, Y),
        partial(lambda x, y: None, y=Y),
    ],
)
def test_without_labels_the_model_gets_the_data_alone(model):
    assert letters(pair(model), X) == ["x"]


@pytest.mark.parametrize(
    "model, sentence",
    [
        (lambda x: None, r"model\(x\), so it takes no labels y"),
        (lambda y: None, r"model\(y\), so it takes no labels y"),
        (lambda x, beta=1.0: None, r"model\(x, beta=1.0\), so it takes no labels"),
        (lambda x, **options: None, r"model\(x, \*\*options\), so it takes no labels"),
        (lambda x, *, y: None, "takes y by keyword only.*delete the \\*"),
        (lambda x, *, y=None: None, "takes y by keyword only"),
        (lambda x, y, mask: None, r"model\(x, y, mask\) needs mask too"),
        (lambda x, y, *, mask: None, r"needs mask too"),
        (lambda x, beta=1.0, y=None: None, "has other parameters before its data"),
        (lambda: None, r"model\(\) takes no data; write model\(x\)"),
        (partial(lambda x, y: None, y=Y), "so it takes no labels"),
        (partial(lambda x, net: None, net=nn.Sequential(nn.Linear(1, 1))), r"net=\.\.\.\), so it"),
        (min, "shows no parameters"),
    ],
)
def test_labels_that_are_given_are_taken_or_refused(model, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        arguments(pair(model), X, Y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "model, sentence",
    [
        (lambda x, y: None, r"model\(x, y\), so it needs labels y too"),
        (lambda y, x: None, "needs labels"),
        (lambda xs, ys: None, "needs labels"),
        (lambda y=None, x=None: None, "has other parameters before its data"),
        (lambda x, *, y: None, "needs y too"),
    ],
)
def test_labels_that_lack_are_asked_for(model, sentence):
    with pytest.raises(ValueError, match=sentence):
        arguments(pair(model), X)


@pytest.mark.parametrize(
    "model, guide, refused",
    [
        (lambda x, y: None, lambda y, x: None, True),
        (lambda x, y: None, lambda x: None, True),
        (lambda xs, ys: None, lambda ys, xs: None, True),
        (lambda x, y: None, lambda x, y, z: None, True),
        (lambda x, y: None, lambda x, *, y: None, True),
        (lambda x, y: None, lambda xs, ys=None: None, False),
        (lambda y, x: None, lambda y, x: None, False),
        (lambda x, y: None, lambda *args: None, False),
        (lambda x, y: None, lambda x, y, beta=1.0: None, False),
        (named, AutoNormal(named), False),
    ],
)
def test_a_guide_of_other_parameters_is_refused(model, guide, refused):
    if not refused:
        assert len(arguments(pair(model, guide), X, Y)) == 2
        return
    with pytest.raises(ValueError, match="guide") as caught:
        arguments(pair(model, guide), X, Y)
    assert "\n" not in str(caught.value)


def test_a_class_in_the_place_of_a_program_is_refused():
    with pytest.raises(ValueError, match="build the program first"):
        arguments(Methods2, X)


class Methods2:
    def model(self, x): ...

    def guide(self, x): ...


def test_labels_that_data_carry_go_to_programs_that_take_them():
    assert gives_labels(pair(lambda x, y: None), Y)
    assert gives_labels(pair(lambda xs, ys=None: None), Y)
    assert not gives_labels(pair(lambda xs, ys=None: None), None)
    assert not gives_labels(pair(lambda x: None), Y)
    assert not gives_labels(pair(lambda x, beta=1.0: None), Y)
    assert takes_labels(pair(lambda x, y=None: None))
    assert not needs_labels(pair(lambda x, y=None: None))
    assert needs_labels(pair(lambda y, x: None))


def test_labels_that_data_carry_are_never_left_out_in_silence():
    with pytest.raises(ValueError, match="by keyword only"):
        gives_labels(pair(lambda x, *, y=None: None), Y)
    with pytest.raises(ValueError, match="does not say whether it takes them"):
        gives_labels(pair(lambda *args: None), Y)
    with pytest.warns(UserWarning, match="is given the labels of the data as 'mask'"):
        assert gives_labels(pair(lambda x, mask=None: None), Y)


class Swapped(nn.Module):
    """x ~ N(y + z, 1) with z ~ N(0, 1), so that log p(x | y) = log N(x; y, sqrt 2)."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))

    def model(self, y, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.loc * torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal((y + z).unsqueeze(-1), 1.0).to_event(1), obs=x)

    def guide(self, y, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x[:, 0] - y) / 2 + self.loc, 0.5**0.5))


class Optional(Swapped):
    """The same in Pyro's own style; without labels y ~ N(0, 1) is summed into z."""

    def model(self, xs, ys=None):
        y = torch.zeros(len(xs)) if ys is None else ys
        return super().model(y, xs)

    def guide(self, xs, ys=None):
        y = torch.zeros(len(xs)) if ys is None else ys
        return super().guide(y, xs)


@pytest.fixture
def data():
    y = torch.arange(40) % 5
    return Split(y.unsqueeze(-1) + 2**0.5 * torch.randn(40, 1), y)


@pytest.mark.parametrize("program", [Swapped(), Optional()])
def test_programs_of_any_style_are_judged_given_their_labels(program, data):
    exact = dist.Normal(data.y.float(), 2**0.5).log_prob(data.x[:, 0])
    check(program, data.x, y=data.y)
    # The guide is exact, so each draw has the weight p(x | y).
    assert torch.allclose(evaluate(program, data.x, data.y).bound, exact, atol=1e-5)
    assert torch.allclose(log_likelihood(program, data.x, 3, y=data.y), exact, atol=1e-5)
    assert sample(program, 40, (1,), y=data.y).shape == (40, 1)
    assert reconstruct(program, data.x, data.y).shape == (40, 1)


@pytest.mark.parametrize("program", [Swapped(), Optional()])
def test_programs_of_any_style_are_trained_with_their_labels(program, data):
    exact = dist.Normal(data.y.float(), 2**0.5).log_prob(data.x[:, 0])
    fitted = fit(program, data, valid=data, epochs=1, batch_size=40, progress=False)
    assert fitted.records[0]["train_loss"] == pytest.approx(-exact.mean().item(), abs=1e-4)
    # One step has moved loc by the learning rate of 1e-3.
    assert fitted.records[0]["valid_loss"] == pytest.approx(-exact.mean().item(), abs=1e-3)


def test_optional_labels_are_left_out_where_there_are_none(data):
    exact = dist.Normal(0.0, 2**0.5).log_prob(data.x[:, 0])
    assert torch.allclose(evaluate(Optional(), data.x).bound, exact, atol=1e-5)
    assert fit(Optional(), data.x, epochs=1, progress=False).svi.steps == 1


def test_training_without_the_labels_that_are_needed_is_refused_before_a_step(data):
    for options in ({"data": data.x}, {"data": data, "valid": data.x}):
        program = Swapped()
        with pytest.raises(ValueError, match="needs labels"):
            fit(program, epochs=1, progress=False, **options)
        assert program.loc.item() == 0


def test_labels_that_a_program_does_not_take_are_refused_everywhere(data):
    from pyro_vae.models import VAE

    vae = VAE((1,), 2)
    for judge in (evaluate, reconstruct):
        with pytest.raises(ValueError, match="takes no labels"):
            judge(vae, data.x, data.y)
    with pytest.raises(ValueError, match="takes no labels"):
        sample(vae, 5, (1,), y=data.y[:5])
