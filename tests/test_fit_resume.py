"""A training that was interrupted goes on bit for bit as if it had not been."""

import copy
import os
import signal

import pyro
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pyro_vae import load
from pyro_vae.datasets import Split
from pyro_vae.inference import MovingAverage, ScoreFunction, Trace_ELBO, fit
from pyro_vae.models import VAE

X = (torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def trained(parts, data, *, loss=lambda: None, **options):
    """The program after trainings of so many epochs in all, each resumed from the one before."""
    pyro.set_rng_seed(0)
    program, state = VAE((1, 4, 4), latent_dim=2, hidden=(8,)), None
    for epochs in parts:
        torch.manual_seed(99 if state else 1)
        options |= {"batch_size": 16, "progress": False}
        run = fit(program, data(), loss=loss(), epochs=epochs, resume=state, **options)
        state = copy.deepcopy(run.state_dict())
    return torch.cat([p.flatten() for p in program.parameters()]), run


def loader():
    return DataLoader(TensorDataset(X), batch_size=16, shuffle=True)


LOSSES = {
    "default": lambda: None,
    "MovingAverage": lambda: ScoreFunction(1, baseline=MovingAverage()),
    "Pyro's": pyro.infer.Trace_ELBO,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("data", [lambda: X, loader, lambda: list(X.split(16))])
def test_a_resumed_training_is_the_one_that_went_through(loss, data):
    straight, _ = trained([4], data, loss=LOSSES[loss])
    resumed, _ = trained([1, 2, 4], data, loss=LOSSES[loss])
    assert torch.equal(straight, resumed)


def test_the_look_after_the_last_epoch_changes_no_draw_of_a_training_that_goes_on():
    options = {"valid": X[:8], "valid_every": 3}
    _, straight = trained([7], lambda: X, **options)
    _, resumed = trained([1, 5, 7], lambda: X, **options)
    losses = [[r["train_loss"] for r in run.records] for run in (straight, resumed)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("data", [lambda: X, loader])
def test_a_training_interrupted_within_an_epoch_takes_the_batches_that_were_left(data):
    seen = []

    class Interrupting:
        def __init__(self, program, at):
            self.model, self.inner, self.calls, self.at = program.model, program.guide, 0, at

        def guide(self, x):
            self.calls += 1
            if self.calls == self.at:
                os.kill(os.getpid(), signal.SIGINT)
            self.inner(x)

    def weights(at):
        pyro.set_rng_seed(0)
        program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
        torch.manual_seed(1)
        options = {"epochs": 3, "batch_size": 16, "progress": False, "compile": False}
        run = fit(Interrupting(program, at), data(), **options)
        seen.append(run.svi.steps)
        if run.interrupted:
            state = run.state_dict()
            torch.manual_seed(99)
            run = fit(program, data(), resume=state, **options)
            seen.append(run.svi.steps)
        return torch.cat([p.flatten() for p in program.parameters()])

    assert torch.equal(weights(at=-1), weights(at=7))
    assert seen[0] == 9 and 3 < seen[1] < 6 and seen[2] == 9


def test_a_resumed_training_ends_with_the_best_epoch_though_it_lies_before_the_interruption():
    def best_then_worse(parts):
        optim = pyro.optim.Adam({"lr": 0.05})
        options = {"valid": X[8:], "optim": optim}
        return trained(parts, lambda: X[:8], **options)

    straight, run = best_then_worse([60])
    losses = [record["valid_loss"] for record in run.records]
    assert losses.index(min(losses)) < 40  # eight items are soon learnt by heart

    pyro.set_rng_seed(0)
    program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
    torch.manual_seed(1)
    states = {}

    def remember(run, best):
        states[run.progress.epoch] = copy.deepcopy((program.state_dict(), run.state_dict()))

    options = {"valid": X[8:], "batch_size": 16, "progress": False}
    fit(
        program, X[:8], epochs=60, optim=pyro.optim.Adam({"lr": 0.05}), on_epoch=remember, **options
    )
    weights, state = states[45]
    program.load_state_dict(weights)
    torch.manual_seed(99)
    fit(program, X[:8], epochs=60, optim=pyro.optim.Adam({"lr": 0.05}), resume=state, **options)
    assert torch.equal(straight, torch.cat([p.flatten() for p in program.parameters()]))


class Functions:
    """A program whose parameters are Pyro's own."""

    def model(self, x):
        loc = pyro.param("snapshot loc", lambda: torch.zeros(16))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
            logits = loc + z[..., None]
            pyro.sample("x", pyro.distributions.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x):
        scale = pyro.param(
            "snapshot scale", torch.tensor(0.5), constraint=pyro.distributions.constraints.positive
        )
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Normal(x.mean(-1), scale))


@pytest.mark.parametrize("functions", [False, True])
def test_a_training_that_ended_with_its_best_epoch_goes_on_from_its_last(functions):
    def losses(parts):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        program = Functions() if functions else VAE((1, 4, 4), latent_dim=2, hidden=(8,))
        x, state = X.flatten(1) if functions else X, None
        torch.manual_seed(1)
        for epochs in parts:
            optim = pyro.optim.Adam({"lr": 0.1})
            options = {"valid": x[8:], "progress": False, "epochs": epochs, "optim": optim}
            run = fit(program, x[:8], resume=state, **options)
            state = copy.deepcopy(run.state_dict())
        return [record["train_loss"] for record in run.records]

    straight = losses([60])
    assert straight == losses([40, 60])


def test_a_state_is_refused_on_other_data_or_batches():
    _, run = trained([1], lambda: X)
    state = run.state_dict()
    program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
    options = {"epochs": 2, "resume": state, "progress": False}
    with pytest.raises(
        ValueError, match="had batch_size 16, but here it is 8; go on with the same"
    ):
        fit(program, X, batch_size=8, **options)
    with pytest.raises(ValueError, match="had num_data 40, but here it is 20"):
        fit(program, X[:20], batch_size=16, **options)
    with pytest.raises(
        ValueError, match="holds 'value'|holds \\['value'\\], but must be the state"
    ):
        fit(program, X, epochs=2, resume={"value": 3})


def test_fewer_steps_in_all_than_were_taken_are_refused():
    _, run = trained([2], lambda: X)
    program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
    with pytest.raises(ValueError, match="has taken 6 steps, more than the 3 in all"):
        fit(program, X, epochs=1, batch_size=16, resume=run.state_dict())


def test_a_state_of_another_estimator_is_refused():
    _, run = trained([1], lambda: X, loss=LOSSES["MovingAverage"])
    program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
    with pytest.raises(ValueError, match="the saved state of the estimator holds"):
        fit(program, X, loss=Trace_ELBO(), epochs=2, batch_size=16, resume=run.state_dict())


def test_a_training_that_is_done_is_left_as_it_is():
    straight, run = trained([2], lambda: X)
    resumed, again = trained([2, 2], lambda: X)
    assert again.svi.steps == run.svi.steps and torch.equal(straight, resumed)


def test_drawn_data_are_drawn_anew_in_the_epochs_that_are_left():
    def grey():
        return Split(X * 0.7, draw=torch.bernoulli)

    straight, _ = trained([3], grey)
    resumed, _ = trained([1, 3], grey)
    assert torch.equal(straight, resumed)


def test_a_run_folder_keeps_what_an_estimator_remembers(run):
    loss = "ScoreFunction(num_particles=1, baseline=MovingAverage())"
    words = ["train", "VAE(latent_dim=2, hidden=(8,))", "--loss", loss]
    assert run(*words, "--epochs", 2, "--out", "whole")[0] == 0
    assert run(*words, "--epochs", 1, "--out", "half")[0] == 0
    assert run("train", "--resume", "half", "--epochs", 2)[0] == 0
    whole, half = (load(folder).state_dict() for folder in ("whole", "half"))
    assert all(torch.equal(value, half[name]) for name, value in whole.items())
