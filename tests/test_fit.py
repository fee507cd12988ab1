"""The training loop: what it goes through, keeps, restores, and refuses."""

import copy
import os
import signal

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pyro_vae.datasets import Split, digits
from pyro_vae.inference import Trace_ELBO, TraceMeanField_ELBO, cosine, evaluate, fit, linear
from pyro_vae.models import VAE, Autoencoder

X = (torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
GREY = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def program():
    return VAE((1, 4, 4), latent_dim=2, hidden=(8,))


def test_epochs_go_through_all_data_and_steps_stop_where_they_say(program):
    run = fit(program, X, epochs=3, batch_size=16)
    assert run.svi.steps == 9
    assert [record["step"] for record in run.records] == [3, 6, 9]
    run = fit(program, X, steps=4, batch_size=16)
    assert run.svi.steps == 4
    assert [record["epoch"] for record in run.records] == [1, 2]


def test_a_record_holds_the_loss_of_each_datum():
    class Fixed(nn.Module):
        """x ~ N(0, 1), with a parameter that the loss depends on and does not move."""

        def __init__(self):
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))

        def model(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(self.zero, 1.0), obs=x)

        def guide(self, x):
            pass

    x = torch.randn(50)
    optim = pyro.optim.SGD({"lr": 0.0})
    run = fit(Fixed(), x, valid=x[:10], epochs=1, batch_size=16, optim=optim)
    exact = -dist.Normal(0.0, 1.0).log_prob(x)
    assert run.records[0]["train_loss"] == pytest.approx(exact.mean().item(), rel=1e-5)
    assert run.records[0]["valid_loss"] == pytest.approx(exact[:10].mean().item(), rel=1e-5)


def test_a_training_prints_its_epochs_time_and_last_bound(program):
    run = fit(program, X, valid=X[:8], epochs=2, batch_size=16)
    last, best = run.records[-1], min(record["valid_loss"] for record in run.records)
    assert repr(run).startswith("Fit(2 epochs, 6 steps in ")
    assert f"bound {-last['train_loss']:.2f} in the last epoch" in repr(run)
    assert f"at best bound {-best:.2f} on the validation data" in repr(run)
    warm = fit(program, X, loss=Trace_ELBO(beta=linear(0, 1, steps=3)), epochs=1, batch_size=16)
    assert f"loss {warm.records[-1]['train_loss']:.2f} in the last epoch" in repr(warm)


def test_a_training_with_a_guide_that_is_a_point_prints_no_bound():
    run = fit(Autoencoder((1, 4, 4), latent_dim=2, hidden=(8,)), X, epochs=1, batch_size=16)
    assert f"loss {run.records[-1]['train_loss']:.2f} in the last epoch" in repr(run)
    assert "bound" not in repr(run)


def test_a_plate_larger_than_the_batch_is_taken_out_of_the_record(program):
    class Subsampled(VAE):
        def model(self, x):
            with pyro.plate("data", 4000, subsample=torch.arange(len(x))):
                z = pyro.sample("z", self.prior())
                return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

        def guide(self, x):
            with pyro.plate("data", 4000, subsample=torch.arange(len(x))):
                pyro.sample("z", self.posterior(self.encoder(x)))

    run = fit(Subsampled((1, 4, 4), latent_dim=2), X, epochs=1, batch_size=40)
    assert 5 < run.records[0]["train_loss"] < 20  # 16 log 2 = 11.1 at the start


def test_loaders_of_tensors_and_of_tuples_are_data(program):
    loader = DataLoader(TensorDataset(X), batch_size=16)
    assert fit(program, loader, epochs=2).svi.steps == 6
    assert fit(program, [X[:16], X[16:]], epochs=2).svi.steps == 4


def test_dynamic_binarization_draws_afresh_in_each_epoch(program):
    seen = []
    split = Split(GREY, draw=lambda x: seen.append(torch.bernoulli(x)) or seen[-1])
    fit(program, split, epochs=2, batch_size=40)
    assert set(seen[-1].unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(seen[-1].sum((1, 2, 3)).sort()[0], seen[-2].sum((1, 2, 3)).sort()[0])


def test_the_best_parameters_on_the_validation_data_are_kept(program):
    states = []

    def remember(run, best):
        states.append((best, copy.deepcopy(program.state_dict())))

    optim = pyro.optim.Adam({"lr": 0.05})
    run = fit(program, X[:8], valid=X[8:], epochs=200, optim=optim, on_epoch=remember)
    losses = [record["valid_loss"] for record in run.records]
    best = losses.index(min(losses))
    assert best < 150  # eight items are soon learnt by heart
    assert states[best][0] and not states[-1][0]
    kept = states[best][1]
    assert all(torch.equal(value, kept[name]) for name, value in program.state_dict().items())


def test_the_validation_data_are_looked_at_once_in_so_many_epochs_and_after_the_last(program):
    best = []
    options = {"epochs": 8, "batch_size": 16, "on_epoch": lambda run, is_best: best.append(is_best)}
    run = fit(program, X, valid=X[:8], valid_every=3, **options)
    looked = ["valid_loss" in record for record in run.records]
    assert looked == [False, False, True, False, False, True, False, True]
    assert all("train_loss" in record for record in run.records)
    assert best[2] and not any(best[epoch] for epoch in (0, 1, 3, 4, 6))


def test_validation_moves_no_parameter_and_no_buffer():
    def trained(valid):
        pyro.set_rng_seed(0)
        encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Unflatten(1, (2, 2))
        )
        program = VAE((1, 4, 4), latent_dim=2, encoder=encoder)
        fit(program, X, epochs=1, batch_size=40, valid=valid)
        return program.state_dict()

    one, other = trained(None), trained(X[:5])
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_validation_judges_a_warm_up_by_its_end(program):
    loss = TraceMeanField_ELBO(beta=linear(0, 1, steps=3))
    run = fit(program, X, valid=X, loss=loss, epochs=1, batch_size=16)
    bound = -evaluate(program, X, num_particles=400).bound.mean().item()
    assert run.records[0]["beta"] == pytest.approx(1.0)
    assert run.records[0]["valid_loss"] == pytest.approx(bound, abs=0.3)  # one draw a datum


def interrupted_in_the_middle(program, x, **options):
    calls = []
    guide = program.guide

    class Interrupting:
        model = program.model

        def guide(self, x):
            calls.append(x)
            if len(calls) == 7:  # two of them look at the plates
                os.kill(os.getpid(), signal.SIGINT)
            return guide(x)

    return fit(Interrupting(), x, **options)


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened():
    program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
    twin = copy.deepcopy(program)
    split = Split(GREY, draw=torch.bernoulli)
    options = {"epochs": 4, "batch_size": 16, "loss": Trace_ELBO(beta=linear(0, 1, 12))}
    handler = signal.getsignal(signal.SIGINT)

    pyro.set_rng_seed(0)
    straight = fit(program, split, **options)

    pyro.set_rng_seed(0)
    broken = interrupted_in_the_middle(twin, split, **options)
    assert broken.interrupted and broken.svi.steps == 5
    state = broken.state_dict()
    pyro.set_rng_seed(99)
    resumed = fit(twin, split, resume=state, **options)

    for p, q in zip(program.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
    for one, other in zip(straight.records, resumed.records, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-6)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_loss_that_becomes_nan_says_so_and_keeps_the_parameters(program):
    kept = []
    optim = pyro.optim.SGD({"lr": 1e12})
    with pytest.raises(
        FloatingPointError, match=r"the loss is nan at step \d+: site 'z' of the gu"
    ):
        fit(
            program,
            X,
            optim=optim,
            epochs=50,
            on_epoch=lambda run, best: kept.append(run.svi.steps),
        )
    assert all(p.isfinite().all() for p in program.parameters())


def test_a_warm_up_longer_than_the_training_is_warned_of(program):
    with pytest.warns(UserWarning, match="beta of Trace_ELBO takes 100 steps"):
        fit(program, X, loss=Trace_ELBO(beta=linear(0, 1, 100)), epochs=1)


def test_what_makes_no_sense_is_refused(program):
    with pytest.raises(ValueError, match="not both"):
        fit(program, X, epochs=1, steps=1)
    for name in ("epochs", "steps", "batch_size", "valid_every"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1"):
            fit(program, X, **{name: 0})
    with pytest.raises(TypeError, match="need steps"):
        fit(program, iter([X]), epochs=1)
    with pytest.raises(ValueError, match="support"):
        fit(program, GREY, epochs=1)


def test_learning_rate_schedules_and_clipping_pass_through(program):
    run = fit(program, X, steps=3, lr_schedule=cosine(1, 0, 2), clip_norm=1.0)
    assert run.svi.optimizer.param_groups[0]["lr"] == 0.0


class Located(nn.Module):
    """x ~ N(0, 1), in a plate that a function makes; the loss depends on one parameter."""

    def __init__(self, plate):
        super().__init__()
        self.plate, self.zero = plate, nn.Parameter(torch.zeros(()))

    def model(self, x):
        with self.plate(x) as index:
            pyro.sample("x", dist.Normal(self.zero, 1.0), obs=x[index])

    def guide(self, x):
        pass


def whole(x):
    return pyro.plate("data", 500, subsample=torch.arange(len(x)))


def tenth(x):
    return pyro.plate("data", len(x), subsample_size=len(x) // 5)


@pytest.mark.parametrize("plate", [whole, tenth])
@pytest.mark.parametrize("loss", [Trace_ELBO(), pyro.infer.TraceGraph_ELBO()])
def test_records_are_per_datum_whatever_the_plate_is_scaled_by(plate, loss):
    x = torch.full((50,), 2.0)
    exact = -dist.Normal(0.0, 1.0).log_prob(x[0]).item()
    optim = pyro.optim.SGD({"lr": 0.0})
    options = {"loss": loss, "optim": optim, "epochs": 1, "batch_size": 20}  # the last has 10
    (record,) = fit(Located(plate), x, valid=x[:15], **options).records
    assert record["train_loss"] == pytest.approx(exact, rel=1e-5)
    assert record["valid_loss"] == pytest.approx(exact, rel=1e-5)
    assert ("rate" in record) == (plate is whole and isinstance(loss, Trace_ELBO))


def test_a_loss_of_pyros_that_becomes_nan_says_so():
    def plate(x):
        return pyro.plate("data", len(x))

    seen = []
    x = torch.zeros(30)
    x[25:] = torch.nan
    with (
        pyro.validation_enabled(False),
        pytest.warns(UserWarning, match="NaN"),
        pytest.raises(FloatingPointError, match="nan at step"),
    ):
        options = {"loss": pyro.infer.TraceGraph_ELBO(), "batch_size": 10, "epochs": 2}
        fit(Located(plate), x, on_epoch=lambda run, best: seen.append(run), **options)
    assert not seen


@pytest.mark.parametrize("loss", [Trace_ELBO(), pyro.infer.Trace_ELBO().differentiable_loss])
def test_validation_data_whose_loss_is_not_finite_stop_the_training(loss):
    seen = []
    program = Located(lambda x: pyro.plate("data", len(x)))
    valid = torch.tensor([0.0, torch.inf])
    with (
        pyro.validation_enabled(False),
        pytest.raises(FloatingPointError, match="validation data.* at step 2"),
    ):
        options = {"loss": loss, "batch_size": 10, "epochs": 2}
        keep = {"on_epoch": lambda run, best: seen.append(run)}
        fit(program, torch.zeros(20), valid=valid, **options, **keep)
    assert not seen


def test_an_iterator_gives_all_its_batches_and_its_end_is_named(program):
    seen = []
    batches = (seen.append(i) or X[:16] for i in range(3))
    assert fit(program, batches, steps=3).svi.steps == 3 and seen == [0, 1, 2]
    with pytest.raises(ValueError, match="ended after 3 steps; give data that can be gone"):
        fit(program, iter([X] * 3), steps=5)


def test_data_of_another_kind_are_refused_with_what_to_do(program):
    for data, sentence in [
        (X.numpy(), r"torch.as_tensor\(data\)"),
        ([X.numpy()], "torch.as_tensor makes"),
        ([{"x": X}], "of type dict"),
        (digits(), "give data.train"),
        (TensorDataset(X), "DataLoader"),
        (3, "of type int"),
        ([(X, X)], "the batches have 2 parts, but model takes 1 argument; give the data alone"),
    ]:
        with pytest.raises(TypeError, match=sentence):
            fit(program, data, steps=1)
    for data, length in ((X[:0], "epochs"), ([], "epochs"), ([], "steps")):
        with pytest.raises(ValueError, match="the data are empty"):
            fit(program, data, **{length: 1})
    with pytest.raises(TypeError, match="valid is of type DataLoader, but must be a tensor"):
        fit(program, X, valid=DataLoader(TensorDataset(X)), epochs=1)
    with pytest.raises(ValueError, match="leave valid out"):
        fit(program, X, valid=X[:0], epochs=1)
