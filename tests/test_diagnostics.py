"""Where a number that is not finite comes from; layers in bfloat16, however they are called."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F

from pyro_vae.inference.terms import explain_nonfinite
from pyro_vae.likelihoods import Mixed
from pyro_vae.precision import layers_in_bfloat16


def no_latent(x):
    pass


def explained(model, *args, guide=no_latent, parameters=None):
    return explain_nonfinite(model, guide, parameters or {}, args, {})


def test_a_parameter_is_named_before_all_that_it_spoils():
    def model(x):
        pyro.sample("x", dist.Normal(torch.tensor(math.nan), 1.0), obs=x)

    parameters = {"good": torch.zeros(2), "bad": torch.tensor([0.0, math.inf])}
    said = explained(model, torch.zeros(()), parameters=parameters)
    assert "the last update made parameter 'bad' non-finite" in said


def test_a_datum_is_named_before_the_draws_that_it_spoils():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(x, 1.0))

    said = explained(model, torch.tensor(math.nan), guide=guide)
    assert said == "site 'x' of the model has a datum that is not finite"


def test_missing_data_that_the_likelihood_takes_are_not_blamed():
    def model(x):
        with pyro.plate("data", len(x)):
            h = pyro.sample("h", dist.Normal(torch.zeros(2), math.inf).to_event(1))
            pyro.sample("x", Mixed((2,))(torch.zeros(1, 2)), obs=x)
            pyro.sample("y", dist.Normal(h, 1.0).to_event(1), obs=torch.zeros(1, 2))

    x = torch.tensor([[0.0, math.nan]])
    guide = pyro.poutine.block(model, expose=["h"])
    assert explained(model, x, guide=guide) == "site 'h' of the guide has a draw that is not finite"


def test_masked_data_are_not_blamed():
    def model(x):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=x.isfinite()):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
        pyro.sample("y", dist.Normal(0.0, math.inf), obs=torch.zeros(()))

    said = explained(model, torch.tensor([0.0, math.nan]))
    assert said == "site 'y' of the model has a log density that is not finite"


def test_a_program_that_fails_on_such_numbers_is_no_second_error():
    def model(x):
        raise RuntimeError("cholesky: not positive definite\nat length")

    said = explained(model, torch.zeros(()))
    assert said == "another run of model and guide fails (cholesky: not positive definite)"


X, W = torch.randn(4000, 40), torch.randn(50, 40)


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.linear(X, weight=W),
        lambda: F.linear(weight=W, input=X),
        lambda: F.linear(X, W, bias=None),
        lambda: F.conv1d(input=X[:, None], weight=W[:, None]),
    ],
)
def test_a_layer_is_rounded_however_its_arguments_are_given(call):
    exact = call()
    with layers_in_bfloat16():
        found = call()
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.2)  # 2^-9 a factor, 40 products


def test_factors_of_two_types_are_refused_as_without_bfloat16():
    with layers_in_bfloat16(), pytest.raises(RuntimeError, match="same dtype"):
        F.linear(X, W.double())
