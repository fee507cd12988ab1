"""Imputation, against closed forms: of linear-Gaussian data, and of programs without a z in x."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch import nn

from pyro_vae.inference import impute
from pyro_vae.inference.applications.weighing import Weighed
from pyro_vae.likelihoods import Bernoulli, Mixed, Nominal, Normal, Poisson, StudentT
from pyro_vae.models import VAE, ConditionalVAE
from pyro_vae.networks import ZeroImputed

NAN = torch.nan


def linear_gaussian():
    """x ~ N(b, W W^T + sigma^2 I), and its mean and covariance."""
    likelihood = Mixed((4,), columns=[Normal((4,), scale=0.5)])
    vae = VAE((4,), 2, encoder=ZeroImputed, likelihood=likelihood, hidden=()).double()
    (decoder,) = vae.decoder.layers
    with torch.no_grad():
        decoder.weight.copy_(torch.randn(4, 2) * 0.8)
        decoder.bias.copy_(torch.randn(4))
    W, b = decoder.weight.detach(), decoder.bias.detach()
    return vae, b, W @ W.mT + 0.25 * torch.eye(4)


def conditional(x, mean, covariance):
    """Mean and covariance of what of x is missing, given the rest, by the textbook."""
    m = x.isnan()
    gain = covariance[m][:, ~m] @ covariance[~m][:, ~m].inverse()
    return mean[m] + gain @ (x[~m] - mean[~m]), covariance[m][:, m] - gain @ covariance[~m][:, m]


X = torch.tensor([[0.3, NAN, 1.0, NAN], [NAN, 0.2, NAN, NAN], [1.0, -1.0, 0.5, NAN]]).double()


def test_the_mean_is_the_closed_form_conditional_mean():
    vae, mean, covariance = linear_gaussian()
    found = impute(vae, X, num_particles=100_000, max_rows=300_000)
    for x, filled, size in zip(X, found.x, found.effective_sample_size, strict=True):
        expected, spread = conditional(x, mean, covariance)
        error = (spread.diagonal() / size).sqrt()  # an upper bound: z is averaged, and not x
        assert ((filled[x.isnan()] - expected).abs() < 4 * error).all() and error.max() < 0.02
        assert torch.equal(filled[~x.isnan()], x[~x.isnan()])


def test_the_samples_have_the_conditional_mean_and_covariance():
    vae, mean, covariance = linear_gaussian()
    x = X[0].expand(2000, 4)
    found = impute(vae, x, kind="sample", num_particles=400, batch_size=250, max_rows=100_000)
    draws = found.x[:, X[0].isnan()]
    expected, spread = conditional(X[0], mean, covariance)
    error = (spread.diagonal() / 2000).sqrt()
    assert ((draws.mean(0) - expected).abs() < 4 * error).all()
    # the standard error of a normal's covariance is at most sqrt(2 / N) of its variances
    assert (draws.mT.cov() - spread).abs().max() < 4 * math.sqrt(2 / 2000) * spread.max()


def test_imputations_drawn_beside_each_other_differ_and_are_complete():
    vae, *_ = linear_gaussian()
    found = impute(vae, X, num_imputations=3)
    assert found.draws.shape == (3, 3, 4) and not found.draws.isnan().any()
    assert (found.draws[0] != found.draws[1])[X.isnan()].all()
    assert torch.equal(found.draws[:, ~X.isnan()], X[~X.isnan()].expand(3, -1))


def test_complete_data_come_back_and_have_no_sample_size():
    vae, *_ = linear_gaussian()
    x = torch.cat([torch.ones(2, 4).double(), X])
    found = impute(vae, x)
    assert torch.equal(found.x[:2], x[:2])
    assert found.effective_sample_size.isnan().tolist() == [True] * 2 + [False] * 3
    assert "5 data, 3 with missing entries, effective sample size" in repr(found)


def test_chunks_give_the_sums_of_all_particles():
    log_w, f = 3 * torch.randn(50, 4).double(), torch.randn(50, 4, 6).double()
    weighed = Weighed(0)
    for chunk in (slice(0, 20), slice(20, 21), slice(21, 50)):
        weighed.add(log_w[chunk], f[chunk])
    v = log_w.softmax(0)
    torch.testing.assert_close(weighed.mean, (v[..., None] * f).sum(0))
    torch.testing.assert_close(weighed.effective_sample_size(), 1 / v.square().sum(0))


def test_draws_of_all_chunks_have_their_weights():
    log_w = torch.randn(6, 1).double()
    weighed, values = Weighed(20_000), torch.arange(6.0).double().view(6, 1, 1)
    for chunk in (slice(0, 2), slice(2, 3), slice(3, 6)):
        weighed.add(log_w[chunk], values[chunk], values[chunk])
    counts = weighed.draws.flatten().long().bincount(minlength=6)
    expected = 20_000 * log_w.softmax(0)[:, 0]
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-3


def test_weights_of_zero_count_nothing():
    weighed = Weighed(1)
    for log_w, f in ((-math.inf, 9.0), (0.0, 1.0), (-math.inf, 9.0)):
        f = torch.full((3, 1, 1), f)
        weighed.add(torch.full((3, 1), log_w), f, f)
    assert weighed.mean.item() == weighed.draws.item() == 1
    assert weighed.effective_sample_size().item() == pytest.approx(3)


def without_z(columns, bias):
    """A VAE whose x does not depend on z, with the decoder's output given."""
    x_shape = (sum(column.x_shape[0] for column in columns),)
    likelihood = Mixed(x_shape, columns=columns)
    vae = VAE(x_shape, 1, encoder=ZeroImputed, likelihood=likelihood, hidden=())
    (decoder,) = vae.decoder.layers
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.bias.copy_(torch.tensor(bias))
    return vae


def test_entries_keep_their_kinds():
    """Of two columns of three classes the parameters of a class lie side by side."""
    columns = [Nominal((2,), num_classes=3), Poisson((1,)), Bernoulli((1,)), Normal((1,))]
    vae = without_z(columns, [0.0, 2, 1, 1, 0, 0, math.log(3.4), -0.5, 0.7])
    x = torch.tensor([[NAN, NAN, 1, 1, 1], [0, 1, NAN, NAN, NAN]])
    found = impute(vae, x, num_imputations=200)
    assert found.x[0, :2].tolist() == [1, 0]
    torch.testing.assert_close(found.x[1, 2:], torch.tensor([3, 0, 0.7]))
    draws = found.draws
    assert set(draws[:, 0, :2].unique().tolist()) == {0, 1, 2}
    assert draws[:, 1, 2].eq(draws[:, 1, 2].round()).all() and draws[:, 1, 2].var() > 1
    assert set(draws[:, 1, 3].unique().tolist()) == {0, 1}


def test_the_class_is_the_one_of_the_highest_mean_probability():
    """Three draws of z say class 0, 0 and 1 with certainty, of one weight each."""
    averaged = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]]).unsqueeze(1)
    weighed = Weighed(0)
    weighed.add(torch.zeros(3, 1), averaged)
    torch.testing.assert_close(weighed.mean, torch.tensor([[2 / 3, 1 / 3, 0]]))


def test_a_mean_that_does_not_exist_is_one_of_draws():
    vae = without_z([StudentT((2,), df=1.001)], [0.0, 0.0])
    assert impute(vae, torch.tensor([[NAN, 1.0]])).x.isfinite().all()


def test_pictures_with_holes_are_filled():
    likelihood = Mixed((1, 4, 4), columns=[Bernoulli((1, 4, 4))])
    vae = VAE((1, 4, 4), 2, encoder=ZeroImputed, likelihood=likelihood)
    x = (torch.rand(5, 1, 4, 4) < 0.5).float()
    holes = x.clone()
    holes[:, :, 1:3] = NAN
    found = impute(vae, holes, num_particles=50).x
    assert found.shape == x.shape and torch.equal(found[:, :, 0], x[:, :, 0])
    assert found.unique().tolist() == [0, 1]


def test_labels_go_with_their_data():
    """The decoder gives the label itself."""
    likelihood = Mixed((2,), columns=[Normal((2,), scale=0.1)])
    parts = {"encoder_sees_y": False, "encoder": ZeroImputed, "likelihood": likelihood}
    decoder = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        decoder.weight.copy_(torch.tensor([[0.0, 0, 1], [0, 0, 1]]))
    cvae = ConditionalVAE((2,), 1, num_classes=2, decoder=decoder, **parts)
    x = torch.tensor([[1.0, 2.0], [NAN, 0.0], [NAN, 1.0]])
    found = impute(cvae, x, torch.tensor([0, 0, 1])).x[:, 0]
    torch.testing.assert_close(found, torch.tensor([1.0, 0, 1]), atol=1e-5, rtol=0)


class Unobserved:
    """z ~ N(0, 1), x ~ N(z, 1), where the guide draws what is missing, by Pyro's own names."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.nan_to_num(), obs_mask=~x.isnan())

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.nan_to_num() / 2, 1.0))
            with poutine.mask(mask=x.isnan()):
                pyro.sample("x_unobserved", dist.Normal(torch.zeros(len(x)), 2.0))


def test_what_the_guide_draws_itself_is_weighed():
    """Alone, x has mean 0 and variance 2."""
    x = torch.full((3000,), NAN)
    x[0] = 1.0
    found = impute(Unobserved(), x, num_particles=500, num_imputations=1)
    assert found.x[0] == 1 and abs(found.x[1:].mean()) < 4 * math.sqrt(2 / 3000 / 100)
    assert abs(found.draws[0, 1:].var() - 2) < 4 * math.sqrt(2 / 3000) * 2


@pytest.mark.parametrize(
    "program, sentence",
    [
        (VAE((2,), 1), "not .* missing entries"),
        (VAE((2,), 1, encoder=ZeroImputed, likelihood=Normal((2,))), "not .* missing"),
        (VAE((2,), 1, likelihood=Mixed((2,))), "encoder=ZeroImputed and likelihood=Mixed"),
    ],
)
@pytest.mark.parametrize("validates", [True, False])
def test_a_program_that_takes_no_missing_entries_is_told_which_parts_do(
    program, sentence, validates
):
    with pyro.validation_enabled(validates), pytest.raises(ValueError, match=sentence):
        impute(program, torch.tensor([[NAN, 1.0]]))


def two_sites(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
        for i in range(2):
            fn = dist.Normal(z, 1.0).mask(~x[:, i].isnan())
            pyro.sample(f"x_{i}", fn, obs=x[:, i].nan_to_num())


def guide_of_two_sites(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))


class TwoSites:
    model, guide = staticmethod(two_sites), staticmethod(guide_of_two_sites)


def test_a_program_without_one_site_for_x_is_refused():
    with pytest.raises(ValueError, match="no site of the model observes x as it is"):
        impute(TwoSites(), torch.tensor([[NAN, 1.0]]))


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"kind": "median"}, "kind must be 'mean' or 'sample', but is 'median'"),
        ({"num_particles": 0}, "num_particles must be at least 1"),
        ({"num_imputations": -1}, "num_imputations must be a whole number of at least 0"),
    ],
)
def test_other_arguments_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        impute(VAE((2,), 1), torch.zeros(2, 2), **options)


def test_integers_are_refused_as_they_hold_no_nan():
    with pytest.raises(ValueError, match="x has dtype torch.int64, in which no entry can be NaN"):
        impute(VAE((2,), 1), torch.zeros(2, 2, dtype=torch.long))
