"""Particles are run in the quickest way that is right for the program, and finding it is silent."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.inference import (
    IWAE,
    MMD,
    PIWAE,
    STL,
    VIMCO,
    DReG,
    ReweightedWakeSleep,
    ScoreFunction,
    Trace_ELBO,
    TraceMeanField_ELBO,
    log_likelihood,
)
from pyro_vae.inference.terms import Particles, Way, collect, find_particles
from pyro_vae.models import VAE, BayesianVAE

X = (torch.rand(6, 16, generator=torch.Generator().manual_seed(0)) > 0.5).double()


class Program(nn.Module):
    """z ~ N(0, I);  x ~ Bernoulli(decoder(z)), with whatever decoder and whatever beside."""

    def __init__(self, *decoder, discrete=False, size=None):
        super().__init__()
        self.discrete, self.size = discrete, size
        self.encoder, self.decoder = nn.Linear(16, 4), nn.Sequential(*decoder)
        self.double()

    def model(self, x):
        with pyro.plate("data", len(x), subsample_size=self.size) as batch:
            prior = dist.Bernoulli(0.5) if self.discrete else dist.Normal(0.0, 1.0)
            z = pyro.sample("z", prior.expand([2]).to_event(1))
            likelihood = dist.Bernoulli(logits=self.decoder(z.double())).to_event(1)
            pyro.sample("x", likelihood, obs=x[batch])

    def guide(self, x):
        with pyro.plate("data", len(x), subsample_size=self.size) as batch:
            loc, log_scale = self.encoder(x[batch]).chunk(2, -1)
            q = dist.Bernoulli(logits=loc) if self.discrete else dist.Normal(loc, log_scale.exp())
            pyro.sample("z", q.to_event(1))


def linear():
    return nn.Linear(2, 16)


def softmax():
    return nn.Linear(2, 5), nn.Softmax(dim=1), nn.Linear(5, 16)


def convolutions():
    unflatten = nn.Unflatten(1, (4, 2, 2))
    return nn.Linear(2, 16), unflatten, nn.ConvTranspose2d(4, 1, 2, 2), nn.Flatten(1)


def mixing():
    """Rows that depend on each other: what one would fold into the batch would change them."""

    class OverRows(nn.Module):
        def forward(self, h):
            return h - h.mean(0)

    return nn.Linear(2, 16), OverRows()


def zeroed(*layers):
    """A decoder whose last layer is zero at the start, as many are: it shows nothing by itself."""
    nn.init.zeros_(layers[-1].weight)
    return layers


WAYS = {
    "a linear decoder": (lambda: Program(linear()), Way.AT_ONCE),
    "discrete latents": (lambda: Program(linear(), discrete=True), Way.AT_ONCE),
    "a subsample": (lambda: Program(linear(), size=3), Way.AT_ONCE),
    "dropout": (lambda: Program(linear(), nn.Dropout()), Way.AT_ONCE),
    "batch norm that folds": (lambda: VAE((4, 4), 2, hidden=(8,)).double(), Way.AT_ONCE),
    "a softmax over dim 1": (lambda: Program(*softmax()), Way.FOLDED),
    "and a last layer of zeros": (lambda: Program(*zeroed(*softmax())), Way.FOLDED),
    "convolutions": (lambda: Program(*convolutions()), Way.FOLDED),
    "dropout before convolutions": (lambda: Program(nn.Dropout(), *convolutions()), Way.FOLDED),
    "convolutions of a subsample": (lambda: Program(*convolutions(), size=3), Way.IN_TURN),
    "convolutions and batch norm": (
        lambda: Program(nn.BatchNorm1d(2), *convolutions()),
        Way.IN_TURN,
    ),
    "rows that depend on each other": (lambda: Program(*mixing()), Way.IN_TURN),
}


@pytest.mark.parametrize("case", WAYS)
def test_the_way_is_found(case):
    make, way = WAYS[case]
    program = make()
    x = X.reshape(6, 4, 4) if isinstance(program, VAE) else X
    assert find_particles(program.model, program.guide, (x,), {}).way is way


def test_finding_it_draws_no_numbers_and_changes_neither_buffers_nor_parameters():
    program = Program(nn.BatchNorm1d(2), *convolutions())
    before = {name: value.clone() for name, value in program.state_dict().items()}
    state = torch.get_rng_state()
    find_particles(program.model, program.guide, (X,), {})
    assert torch.equal(torch.get_rng_state(), state) and program.training
    for name, value in program.state_dict().items():
        assert torch.equal(value, before[name]), name


ESTIMATORS = [
    Trace_ELBO(3, vectorize_particles=True, beta=2.0),
    Trace_ELBO(3, vectorize_particles=True, free_bits=0.5),
    TraceMeanField_ELBO(3, vectorize_particles=True),
    STL(3, vectorize_particles=True),
    IWAE(3),
    DReG(3),
    PIWAE(4, groups=2),
    VIMCO(3),
    ScoreFunction(3),
    ReweightedWakeSleep(3),
    MMD(3, alpha=0.5, lambda_=2.0),
]


@pytest.mark.parametrize("way", [Way.FOLDED, Way.IN_TURN], ids=lambda way: way.name)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_value_and_gradient_are_those_of_all_particles_at_once(estimator, way, monkeypatch):
    """On the same draws, of a program that may run in all three ways."""
    program = Program(linear())
    noise = torch.randn(50, 2, dtype=torch.float64)
    drawn = 0

    def rsample(self, sample_shape=()):
        nonlocal drawn
        shape = self._extended_shape(sample_shape)
        rows = noise[drawn : drawn + shape.numel() // 2]
        drawn += len(rows)
        return self.loc + self.scale * rows.reshape(shape)

    monkeypatch.setattr(dist.Normal, "rsample", rsample)
    monkeypatch.setattr(dist.Normal, "sample", lambda self, shape=(): rsample(self, shape).detach())
    found = []
    for each in (Way.AT_ONCE, way):
        drawn = 0
        if isinstance(estimator, MMD) and each is Way.IN_TURN:
            pytest.skip("draws its prior after each run, so that the draws come in another order")
        ready = type(estimator)(**vars(estimator) | {"particles": Particles(each, 1)})
        loss = ready.differentiable_loss(program.model, program.guide, X)
        found.append((loss, *torch.autograd.grad(loss, list(program.parameters()))))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("decoder", [softmax, convolutions])
@pytest.mark.parametrize(
    "estimator", [IWAE(4), DReG(4), Trace_ELBO(4, vectorize_particles=True)], ids=repr
)
def test_networks_of_one_batch_dimension_have_the_right_value(estimator, decoder):
    torch.manual_seed(1)
    program, x = Program(*decoder()), X.repeat(500, 1)
    with torch.no_grad():
        for parameter in program.decoder.parameters():
            parameter.mul_(4)
        found = -estimator.loss(program.model, program.guide, x) / len(x)
        singles = [collect(program.model, program.guide, (x,), {}).log_w for _ in range(4)]
    log_w = torch.cat(singles)
    mean = isinstance(estimator, Trace_ELBO)
    right = log_w.mean(0) if mean else log_w.logsumexp(0) - torch.tensor(4.0).log()
    assert abs(found - right.mean()) < 4 * right.std() * (2 / len(x)) ** 0.5


def test_particles_in_turn_see_one_subsample():
    program = Program(*convolutions(), size=3)
    seen = []
    program.encoder.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    ready = IWAE(4).prepared(program.model, program.guide, X)
    seen.clear()
    ready.loss(program.model, program.guide, X)
    assert len(seen) == 4 and all(torch.equal(x, seen[0]) for x in seen)


@pytest.mark.parametrize("estimator", [IWAE(4, chunk_size=2), VIMCO(4, chunk_size=1)])
def test_chunks_of_one_bound_see_one_subsample(estimator):
    program = Program(linear(), size=3, discrete=True)
    seen = []
    program.encoder.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    ready = estimator.prepared(program.model, program.guide, X)
    seen.clear()
    loss = ready.loss if isinstance(estimator, IWAE) else ready.loss_and_grads
    loss(program.model, program.guide, X)
    assert len(seen) == 4 // estimator.chunk_size and all(torch.equal(x, seen[0]) for x in seen)


def test_weights_of_a_decoder_that_are_latents_run_in_turn():
    program, x = BayesianVAE((4, 4), 2, hidden=(8,), num_data=6), X.float().reshape(6, 4, 4)
    elbo = Trace_ELBO(3, vectorize_particles=True).prepared(program.model, program.guide, x)
    assert torch.tensor(elbo.loss(program.model, program.guide, x)).isfinite()


def test_log_likelihood_runs_convolutions_folded():
    program = Program(*convolutions())
    found = log_likelihood(program, X, 2000)
    t = collect(program.model, program.guide, (X.repeat(2000, 1),), {})
    log_w = t.log_w.detach().reshape(2000, 6)
    w = (log_w - log_w.mean(0)).exp()
    error = w.std(0) / w.mean(0) * (2 / 2000) ** 0.5
    assert ((found - w.mean(0).log() - log_w.mean(0)).abs() < 4 * error).all()


# Plates of one size, and what couples all data.


class Square(nn.Module):
    """Rows of three numbers for three rows, each with a mean that depends on the whole row."""

    def __init__(self, transposed):
        super().__init__()
        self.transposed = transposed

    def _plates(self):
        one, two = pyro.plate("one", 3, dim=-1), pyro.plate("two", 3, dim=-2)
        return one, two

    def model(self, x):
        one, two = self._plates()
        with one, two:
            x = x.T if self.transposed else x
            z = pyro.sample("z", dist.Normal(torch.zeros(3, 3), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        one, two = self._plates()
        with one, two:
            x = x.T if self.transposed else x
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))


@pytest.mark.parametrize("transposed", [False, True])
def test_of_plates_of_one_size_a_changed_row_tells_which_is_the_datas(transposed):
    x, program = torch.randn(3, 3), Square(transposed)
    t = IWAE(2).terms(program.model, program.guide, x)
    assert t.layout.data.name == ("one" if transposed else "two")
    evidence = dist.Normal(0.0, 2**0.5).log_prob(x).sum(1)
    torch.testing.assert_close(t.log_w, evidence.expand(2, 3))


def test_rows_that_are_all_the_same_tell_nothing():
    program = Square(transposed=False)
    with pytest.raises(ValueError, match="nothing says which of them numbers the data"):
        IWAE(2).loss(program.model, program.guide, torch.ones(3, 3))


def coupled(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    pyro.factor("together", -z.mean(-1, True).square())


def uncoupled_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))


@pytest.mark.parametrize("estimator", [IWAE(3), ScoreFunction(1, baseline=None), VIMCO(3)])
def test_a_factor_of_the_latents_of_all_data_leaves_none_a_bound_of_its_own(estimator):
    with pytest.raises(ValueError, match="'together', outside the data plate, depends on the lat"):
        estimator.loss(coupled, uncoupled_guide, torch.randn(5))
