"""Every loss of Pyro's in fit: it trains, and its records are what the loss is, per datum."""

import warnings

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro.contrib.gp.kernels import RBF
from torch import nn

from pyro_vae.inference import fit

PARTICLES = {"num_particles": 4, "vectorize_particles": True, "max_plate_nesting": 1}
LOSSES = {
    "Trace_ELBO": pyro.infer.Trace_ELBO,
    "TraceMeanField_ELBO": pyro.infer.TraceMeanField_ELBO,
    "TraceGraph_ELBO": pyro.infer.TraceGraph_ELBO,
    "TraceEnum_ELBO": pyro.infer.TraceEnum_ELBO,
    "TraceTMC_ELBO": pyro.infer.TraceTMC_ELBO,
    "RenyiELBO": lambda: pyro.infer.RenyiELBO(alpha=0.5, **PARTICLES),
    "ReweightedWakeSleep": lambda: pyro.infer.ReweightedWakeSleep(num_particles=4),
    "Trace_MMD": lambda: pyro.infer.Trace_MMD(kernel=RBF(2), mmd_scale=10.0, **PARTICLES),
    "JitTrace_ELBO": pyro.infer.JitTrace_ELBO,
    "JitTraceMeanField_ELBO": pyro.infer.JitTraceMeanField_ELBO,
    "JitTraceGraph_ELBO": pyro.infer.JitTraceGraph_ELBO,
    "JitTraceEnum_ELBO": pyro.infer.JitTraceEnum_ELBO,
    "a function": lambda: pyro.infer.Trace_ELBO().differentiable_loss,
}
NEED_LATENTS = {"Trace_MMD", "ReweightedWakeSleep"}
X = torch.randn(33, 2, generator=torch.Generator().manual_seed(0))


class Program(nn.Module):
    """z ~ N(0, 1), x ~ N(decoder(z), 1)."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, 4), nn.Linear(2, 2)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Known(nn.Module):
    """x ~ N(0, 1): no latent, so that every bound is log p(x)."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(2))

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.loc, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pass


def trained(program, loss, data=X, **options):
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    options = {"epochs": 2, "batch_size": 16, "progress": False} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the losses themselves
        return fit(program, data, loss=loss, **options)


@pytest.mark.parametrize("name", [*LOSSES, "EnergyDistance"])
def test_every_loss_of_pyros_trains_and_validates(name):
    loss = LOSSES.get(name, lambda: pyro.infer.EnergyDistance(num_particles=4, prior_scale=0.1))
    program = Program()
    before = [parameter.clone() for parameter in program.parameters()]
    run = trained(program, loss(), valid=X[:1], optim=pyro.optim.Adam({"lr": 0.01}))
    moved = [not torch.equal(*p) for p in zip(before, program.parameters(), strict=True)]
    assert run.svi.steps == 6 and all(moved)
    best = min(record["valid_loss"] for record in run.records)
    assert run.progress.best == best


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - NEED_LATENTS))
def test_records_of_a_loss_without_latents_are_the_negative_log_likelihood(name):
    run = trained(Known(), LOSSES[name](), valid=X[:5], optim=pyro.optim.SGD({"lr": 0.0}))
    exact = -dist.Normal(0.0, 1.0).log_prob(X).sum(-1)
    for record in run.records:
        assert record["train_loss"] == pytest.approx(exact.mean().item(), rel=1e-5)
        assert record["valid_loss"] == pytest.approx(exact[:5].mean().item(), rel=1e-5)


def test_several_values_of_a_loss_are_summed_as_they_are_descended():
    loss = pyro.infer.ReweightedWakeSleep(num_particles=2, max_plate_nesting=1)
    program = Program()
    run = trained(program, loss, data=[X], epochs=1, optim=pyro.optim.SGD({"lr": 0.0}))
    pyro.set_rng_seed(0)
    torch.randint(2**31, ())  # the seed of the order of the data
    theta, phi = loss.loss(program.model, program.guide, X)
    assert run.records[0]["train_loss"] == pytest.approx(float(theta + phi) / 33, rel=1e-5)


def test_a_loss_that_has_a_gradient_alone_trains_and_cannot_validate():
    loss = pyro.infer.TraceTailAdaptive_ELBO(**PARTICLES)
    seen = []
    program = Program()
    before = program.encoder.weight.clone()
    run = trained(program, loss, on_epoch=lambda run, best: seen.append(best))
    assert seen == [True, True] and not torch.equal(before, program.encoder.weight)
    assert "train_loss" not in run.records[-1]
    with pytest.raises(ValueError, match="TraceTailAdaptive_ELBO has a gradient but no value"):
        trained(Program(), loss, valid=X)
