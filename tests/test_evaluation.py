"""Evaluation against exact answers, and that it moves nothing."""

import math
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.inference import evaluate, log_likelihood, mean_and_error
from pyro_vae.inference.evaluation import graph_runs
from pyro_vae.inference.graphs import Compile, Graphs
from pyro_vae.likelihoods import Normal
from pyro_vae.models import VAE

X = torch.randn(7, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Conjugate(nn.Module):
    """z ~ N(0, 1), x ~ N(z, 1), so x ~ N(0, 2); the guide is wider than the posterior."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale
        self.zero = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] / 2 + self.zero, self.scale))


EXACT = dist.Normal(0.0, math.sqrt(2)).log_prob(X)[:, 0]


def test_the_log_likelihood_is_exact_at_the_exact_posterior():
    found = log_likelihood(Conjugate(math.sqrt(0.5)), X, num_particles=3)
    torch.testing.assert_close(found, EXACT)


def test_the_log_likelihood_converges_to_the_evidence():
    found = log_likelihood(Conjugate(), X, num_particles=20_000)
    torch.testing.assert_close(found, EXACT, atol=0.02, rtol=0)  # s.e. about 0.004


def test_an_evaluation_prints_its_means():
    found = evaluate(Conjugate(math.sqrt(0.5)), X)
    mean, error = mean_and_error(EXACT)
    assert repr(found).startswith(f"Evaluation(7 data, bound {mean:.2f} ± {error:.2f}, rate ")


@pytest.mark.parametrize("options", [{"batch_size": 2}, {"max_rows": 3}, {"max_rows": 1}])
def test_chunks_do_not_change_the_log_likelihood(options):
    found = log_likelihood(Conjugate(math.sqrt(0.5)), X, num_particles=10, **options)
    torch.testing.assert_close(found, EXACT)


def test_the_bound_is_the_evidence_less_the_kl_divergence():
    scale = 1.3
    posterior, guide = dist.Normal(0.0, math.sqrt(0.5)), dist.Normal(0.0, scale)
    gap = torch.distributions.kl_divergence(guide, posterior)
    found = evaluate(Conjugate(scale), X, num_particles=4000)
    torch.testing.assert_close(found.bound, EXACT - gap, atol=0.15, rtol=0)  # 4 s.e.
    torch.testing.assert_close(found.bound, -(found.rate + found.distortion))


def test_networks_with_one_batch_dimension_are_evaluated_too():
    """The usual convolution takes (N, C, H, W) and no particle dimension."""
    decoder = nn.Sequential(
        nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 1, 3, padding=1)
    )
    nn.init.normal_(decoder[0].weight, std=0.1)  # near a constant, so that little noise is left
    program = VAE((1, 4, 4), latent_dim=2, decoder=decoder)
    vectorizing = VAE((1, 4, 4), latent_dim=2, encoder=program.encoder, decoder=Folded(decoder))
    nn.init.zeros_(program.encoder.layers[-1].weight)
    nn.init.zeros_(program.encoder.layers[-1].bias)
    x = (torch.rand(5, 1, 4, 4) < 0.5).float()
    found = [mean_and_error(log_likelihood(p, x, 4000))[0] for p in (program, vectorizing)]
    assert found[0] == pytest.approx(found[1], abs=0.02)


class Folded(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, z):
        return self.net(z.flatten(0, -2)).unflatten(0, z.shape[:-1])


def test_a_network_that_takes_particles_for_channels_is_not_believed():
    class Mixing(nn.Module):
        """z_1 - z_2 for (N, 2); on (K, N, 2) it runs too, but centres over the data."""

        def forward(self, z):
            return (z - z.mean(1, keepdim=True)) @ torch.tensor([[3.0], [1.0]])

    program = VAE((1,), latent_dim=2, decoder=Mixing(), likelihood=Normal((1,), scale=1.0))
    x = torch.randn(50, 1)
    exact = dist.Normal(0.0, math.sqrt(1 + 2)).log_prob(x)[:, 0]
    found = log_likelihood(program, x, 4000)
    torch.testing.assert_close(found.mean(), exact.mean(), atol=0.05, rtol=0)


def test_global_latents_have_a_bound_but_no_likelihood_of_each_datum():
    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mu[..., None], 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("mu", dist.Normal(0.0, 1.0))

    program = SimpleNamespace(model=model, guide=guide)
    found = evaluate(program, X)
    assert found.rate.abs().max() < 1e-12  # the guide is the prior
    with pytest.raises(ValueError, match="outside the data plate"):
        log_likelihood(program, X, 10)


def test_evaluation_moves_no_buffer_and_leaves_the_mode_as_it_was():
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Unflatten(1, (2, 2))
    )
    program = VAE((1, 2, 2), latent_dim=2, encoder=encoder)
    before = {name: value.clone() for name, value in program.state_dict().items()}
    x = torch.ones(6, 1, 2, 2)
    evaluate(program, x)
    log_likelihood(program, x, 4)
    assert all(torch.equal(value, before[name]) for name, value in program.state_dict().items())
    assert all(module.training for module in program.modules())


def test_the_mean_has_the_usual_standard_error():
    mean, error = mean_and_error(torch.tensor([1.0, 2.0, 3.0]))
    assert mean == 2 and error == pytest.approx(1 / math.sqrt(3))


def test_no_particle_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        log_likelihood(Conjugate(), X, 0)


def no_plate(x):
    pyro.sample("x", dist.Normal(torch.zeros(x.shape), 1.0).to_event(2), obs=x)


def sequential_plate(x):
    for i in pyro.plate("data", len(x)):
        pyro.sample(f"x_{i}", dist.Normal(torch.zeros(1), 1.0).to_event(1), obs=x[i])


@pytest.mark.parametrize("model", [no_plate, sequential_plate])
@pytest.mark.parametrize("judge", [evaluate, log_likelihood])
def test_data_without_a_column_each_are_refused(model, judge):
    program = SimpleNamespace(model=model, guide=lambda x: None)
    with pytest.raises(ValueError, match=r"but 1 for \d+ rows; put.*len\(x\)\)"):
        judge(program, X)


def test_a_latent_that_is_summed_out_is_named():
    @pyro.infer.config_enumerate
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.5)))
            pyro.sample("x", dist.Normal(c[..., None], 1.0).to_event(1), obs=x)

    program = SimpleNamespace(model=model, guide=lambda x: None)
    for judge in (evaluate, log_likelihood):
        with pytest.raises(ValueError, match=r"latents \['c'\] are enumerated.*TraceEnum_ELBO"):
            judge(program, X)


def test_a_captured_log_likelihood_is_the_eager_one_bit_for_bit():
    x, found = X.repeat(8, 1), []
    for refused in (False, True):
        pyro.set_rng_seed(3)
        with pytest.MonkeyPatch.context() as patch:
            if refused:
                patch.setattr(Graphs, "run", lambda *_, **__: None)
            found.append(log_likelihood(Conjugate(), x, 40, batch_size=4, max_rows=16))
    assert torch.equal(*found)


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_a_compiled_log_likelihood_is_the_eager_one_to_rounding(monkeypatch):
    program, x, found = VAE((1, 4, 4), 2, hidden=(8,)), torch.rand(8, 1, 4, 4).round(), []
    made = []
    for options in ({"mode": "captured"}, {"mode": "compiled"}):
        monkeypatch.setattr(graph_runs, "Compile", lambda options=options, **_: Compile(**options))
        monkeypatch.setattr(
            graph_runs, "Graphs", lambda *args: made.append(Graphs(*args)) or made[-1]
        )
        pyro.set_rng_seed(3)
        found.append(log_likelihood(program, x, 100, batch_size=4, max_rows=16))
    assert [graphs.mode for graphs in made] == ["captured", "compiled"]
    torch.testing.assert_close(*found, rtol=1e-5, atol=0)


@pytest.mark.parametrize("left, seconds, compiles", [(1_000, 0.1, 1), (300, 0.1, 0), (10, 9, 0)])
def test_a_likelihood_is_compiled_where_the_runs_that_are_left_pay(left, seconds, compiles):
    """By 100 captured runs: 0.4 of 900 runs of 0.1 s are more than 15 s, of 200 not."""
    asked, clock = [], iter(range(10_000))
    graphs = SimpleNamespace(
        mode="captured",
        run=lambda *_: SimpleNamespace(value=0.0),
        compile_next=lambda: asked.append(None),
    )
    runs = graph_runs.Runs(graphs, lambda *_: None, left)
    with pytest.MonkeyPatch.context() as patch:
        now = SimpleNamespace(perf_counter=lambda: next(clock) * seconds)
        patch.setattr(graph_runs, "time", now)
        for _ in range(min(left, 120)):
            runs((), {})
    assert len(asked) == compiles


def test_a_program_with_a_counter_is_evaluated_eagerly_with_a_warning():
    class Counting(Conjugate):
        calls = 0

        def model(self, x):
            self.calls += 1
            super().model(x)

    program = Counting()
    with pytest.warns(UserWarning, match="log_likelihood runs eagerly, uncompiled: .*calls"):
        log_likelihood(program, X, 100, max_rows=len(X))
    assert program.calls > 100


def test_whole_numbers_are_data_too():
    counts = SimpleNamespace(
        model=lambda x: pyro.plate("data", len(x))(
            lambda: pyro.sample("x", dist.Poisson(torch.ones(1)).to_event(1), obs=x)
        )(),
        guide=lambda x: None,
    )
    found = log_likelihood(counts, torch.tensor([[0], [1]]), 3)
    torch.testing.assert_close(found, torch.tensor([-1.0, -1.0]))
