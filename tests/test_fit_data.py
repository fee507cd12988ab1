"""What users give to fit: taken for what it is, or refused in one sentence before any step."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pyro_vae.datasets import Split
from pyro_vae.inference import MMD, Trace_ELBO, fit


class Linear(nn.Module):
    """x ~ N(decoder(z), 1), with the networks of one batch dimension that people write."""

    def __init__(self, dim=2):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(dim, 4), nn.Linear(2, dim)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Mean(nn.Module):
    """x ~ p(x | loc) for a distribution, and no latent, so that losses are known."""

    def __init__(self, distribution=lambda loc: dist.Normal(loc, 1.0)):
        super().__init__()
        self.loc, self.distribution, self.seen = nn.Parameter(torch.zeros(())), distribution, []

    def model(self, x):
        self.seen.append(x)
        with pyro.plate("data", len(x)):
            pyro.sample("x", self.distribution(self.loc), obs=x)

    def guide(self, x):
        pass


class Normalized(Linear):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def guide(self, x):
        super().guide(self.norm(x))


def trained(program, data, **options):
    return fit(program, data, **{"epochs": 1, "batch_size": 16, "progress": False} | options)


X = torch.randn(33, 2, generator=torch.Generator().manual_seed(0))
NO_STEP = pyro.optim.SGD({"lr": 0.0})


def test_batch_normalization_at_the_input_trains_on_data_far_from_zero():
    run = trained(Normalized(), 1000 + 100 * X, valid=1000 + 100 * X[:5], epochs=2)
    assert run.svi.steps == 4


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_modules_are_made_by_the_first_batch():
    program = Linear()
    program.encoder = nn.Sequential(nn.LazyBatchNorm1d(), nn.LazyLinear(4))
    assert trained(program, X, valid=X[:5]).svi.steps == 2
    assert program.encoder[1].weight.shape == (4, 2)


def test_a_single_last_datum_joins_the_batch_before_it_under_batch_normalization():
    program = Mean()
    trained(program, X[:, 0], optim=NO_STEP)
    assert {len(x) for x in program.seen} == {16, 1}
    program = Mean()
    program.norm = nn.BatchNorm1d(1)
    run = trained(program, X[:, 0], optim=NO_STEP, epochs=2)
    assert {len(x) for x in program.seen} == {16, 17} and run.svi.steps == 4
    exact = -dist.Normal(0.0, 1.0).log_prob(X[:, 0]).mean().item()
    assert run.records[0]["train_loss"] == pytest.approx(exact, rel=1e-5)


def test_a_single_last_datum_joins_the_batch_before_it_under_mmd():
    valid = torch.randn(501, 2)
    run = trained(Linear(), X, valid=valid, loss=MMD(), epochs=2)
    assert run.svi.steps == 4 and run.records[1]["valid_loss"] > 0


@pytest.mark.parametrize("data", [X[:1], [X[:4], X[:1]], DataLoader(X, batch_size=8)])
def test_a_batch_of_one_under_batch_normalization_is_refused_with_what_to_do(data):
    with pytest.raises(ValueError, match="batch normalization cannot train on .* drop_last=True"):
        trained(Normalized(), data)


def test_a_validation_split_of_one_row_is_judged_under_batch_normalization_too():
    (record,) = trained(Normalized(), X[:32], valid=X[:1]).records
    assert record["valid_loss"] > 0 and record["rate"] > 0


def test_looking_at_the_plates_leaves_buffers_and_generators_alone():
    def steps(number):
        pyro.set_rng_seed(0)
        program = Normalized()
        trained(program, X[:32], epochs=None, steps=number)
        return program.norm.num_batches_tracked

    assert steps(1) == 1 and steps(3) == 3


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("of_program", [torch.float32, torch.float64])
def test_floating_data_become_of_the_type_of_the_program(kind, of_program):
    program = Mean().to(of_program)
    run = trained(program, X[:, 0].to(kind), valid=X[:, 0].to(kind), optim=NO_STEP)
    assert {x.dtype for x in program.seen} == {of_program}
    exact = -dist.Normal(0.0, 1.0).log_prob(X[:, 0].to(kind).double()).mean().item()
    assert run.records[0]["valid_loss"] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool])
def test_integers_that_a_layer_cannot_take_are_refused_with_what_to_do(kind):
    with pytest.raises(ValueError, match=rf"cannot take data of {kind}.*give floating data"):
        trained(Linear(), X.abs().to(kind))


def test_integers_that_a_program_takes_are_left_as_they_are():
    program = Mean(lambda loc: dist.Poisson(loc.exp()))
    run = trained(program, torch.arange(20) % 3, optim=NO_STEP)
    assert {x.dtype for x in program.seen} == {torch.int64}
    exact = -dist.Poisson(1.0).log_prob(torch.arange(20) % 3).mean().item()
    assert run.records[0]["train_loss"] == pytest.approx(exact, rel=1e-5)


def test_data_that_ask_for_a_gradient_are_not_trained():
    x = X.clone().requires_grad_()
    trained(Linear(), x, epochs=3)
    trained(Linear(), [x], epochs=3)
    assert torch.equal(x.detach(), X)


def test_one_datum_in_the_place_of_many_is_refused():
    for data in (X[0], list(X), DataLoader(X, batch_size=None)):
        with pytest.raises(ValueError, match=r"shape \(2,\), one datum, in the plate 'data' of 2"):
            trained(Linear(), data)
    assert trained(Linear(), X[:1]).svi.steps == 1


def test_a_pair_of_data_and_labels_is_not_taken_for_two_batches():
    for data in ((X, torch.zeros(33)), [X, torch.arange(33)]):
        with pytest.raises(ValueError, match=r"give Split\(x, y\) for data with labels"):
            trained(Linear(), data)
    assert trained(Linear(), X.split(8)).svi.steps == 5


def test_what_is_no_data_is_refused():
    for data, sentence in [
        (torch.tensor(3.0), "the single number 3.0"),
        ([torch.tensor(3.0)], "a batch is a single number, 3.0"),
        ([X[:0], X], "a batch holds no data"),
        (X.to_sparse(), r"give x.to_dense\(\)"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            trained(Linear(), data)
    for data in ("mnist", {"x": X}):
        with pytest.raises(TypeError, match="but must be a tensor, a Split or batches"):
            trained(Linear(), data)


def test_counts_that_are_no_integers_are_refused():
    for name, value in (("epochs", 1.5), ("batch_size", True), ("epochs", "3")):
        with pytest.raises(ValueError, match=f"{name} must be an integer, but is"):
            trained(Linear(), X, **{name: value})


def test_what_is_no_program_is_refused():
    with pytest.raises(TypeError, match="is a class; make one of it"):
        trained(Linear, X)
    with pytest.raises(TypeError, match="has no model"):
        trained(Linear().guide, X)


def test_a_loss_that_is_no_loss_is_refused_with_what_to_write():
    with pytest.raises(ValueError, match=r"the text 'IWAE'; give the estimator .* loss=IWAE\(\)"):
        trained(Linear(), X, loss="IWAE")
    with pytest.raises(ValueError, match="the loss is 3, but must be an estimator"):
        trained(Linear(), X, loss=3)


def test_a_learning_rate_schedule_that_is_a_number_is_refused():
    with pytest.raises(ValueError, match="lr_schedule is 0.1, but must be a function of the step"):
        trained(Linear(), X, lr_schedule=0.1)


def test_data_that_are_not_finite_are_named():
    x = torch.where(torch.arange(33)[:, None] == 32, torch.inf, X)
    with pytest.raises(ValueError, match="the data hold 2 NaN or infinite values, which the prog"):
        trained(Linear(), DataLoader(x, batch_size=8))
    with pytest.raises(ValueError, match="the data hold 66 NaN"):
        trained(Linear(), X, valid=X * torch.nan)


def test_validation_data_that_do_not_fit_are_found_before_any_step():
    program = Linear()
    before = [p.clone() for p in program.parameters()]
    with pytest.raises(
        ValueError, match=r"fails on the validation data, in a batch of shape \[\(5"
    ):
        trained(program, X, valid=torch.randn(5, 3))
    with pytest.raises(ValueError, match="so it needs labels y too"):
        trained(VAEWithLabels(), Split(X, torch.zeros(33).long()), valid=X)
    assert all(torch.equal(p, q) for p, q in zip(before, program.parameters(), strict=True))


class VAEWithLabels(Linear):
    def model(self, x, y):
        super().model(x)

    def guide(self, x, y):
        super().guide(x)


def test_looking_at_the_validation_data_changes_no_draw_of_the_training():
    def noisy(x):
        return Split(x, draw=lambda x: x + torch.randn_like(x))

    def weights(valid):
        pyro.set_rng_seed(0)
        program = Linear()
        trained(program, noisy(X), valid=valid)
        return program.encoder.weight

    assert torch.equal(weights(None), weights(noisy(X[:5])))


def test_later_batches_outside_the_support_are_refused_as_under_pyros_checks():
    x = torch.zeros(40, 4)
    x[37, 2] = 0.25
    program = Mean(lambda loc: dist.Bernoulli(logits=loc.expand(4)).to_event(1))
    loader = DataLoader(TensorDataset(x), batch_size=8)
    with pytest.raises(ValueError, match="'x' observes 0.25, outside the support of its Bernoulli"):
        trained(program, loader, valid=x[:3])
    unchecked = Mean(
        lambda loc: dist.Bernoulli(logits=loc.expand(4), validate_args=False).to_event(1)
    )
    assert trained(unchecked, loader).svi.steps == 5
    with pyro.validation_enabled(False):
        assert trained(program, loader).svi.steps == 5


@pytest.mark.parametrize(
    "distribution, usual, other, shown",
    [
        (lambda loc: dist.Poisson(loc.exp()), 1.0, 0.5, "0.5, outside the support of its Poisson"),
        (lambda loc: dist.Gamma(loc.exp(), 1.0), 1.0, -1.0, "-1, outside the support of its Gamma"),
        (lambda loc: dist.Categorical(logits=loc.expand(3)), 2, 3, "3, outside .* its Categorical"),
        (
            lambda loc: dist.OneHotCategorical(logits=loc.expand(2)),
            [0.0, 1.0],
            [1.0, 1.0],
            r"\[1.0, 1.0\], outside the support of its OneHotCategorical",
        ),
    ],
)
def test_the_first_epoch_looks_at_all_data(distribution, usual, other, shown):
    with pytest.raises(ValueError, match=shown):
        trained(Mean(distribution), torch.tensor([usual] * 39 + [other]).split(8))


@pytest.mark.parametrize("loss", [Trace_ELBO(), pyro.infer.Trace_ELBO()])
def test_what_pyro_refuses_under_validation_is_refused_at_the_first_step(loss):
    class Spread(Linear):
        """The latents of the guide are one event over the data, those of the model many."""

        def guide(self, x):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(2))

    with pytest.raises(ValueError):
        trained(Spread(), X, loss=loss)


def test_a_batch_larger_than_the_data_is_all_of_them():
    program = Mean()
    run = trained(program, X[:, 0], batch_size=10**6)
    assert run.svi.steps == 1 and {len(x) for x in program.seen} == {33}


def test_a_validation_split_is_passed_over_in_batches_and_averaged_over_data():
    program = Mean()
    valid = torch.linspace(-2, 2, 1201)
    run = trained(program, X[:, 0], valid=valid, optim=NO_STEP)
    exact = -dist.Normal(0.0, 1.0).log_prob(valid).mean().item()
    assert run.records[0]["valid_loss"] == pytest.approx(exact, rel=1e-5)
    assert run.records[0]["distortion"] == pytest.approx(exact, rel=1e-5)
    assert max(len(x) for x in program.seen) == 500


def test_scaled_sites_train_and_are_validated_by_their_loss():
    class Tempered(Linear):
        def model(self, x):
            with pyro.poutine.scale(scale=0.5):
                super().model(x)

    (record,) = trained(Tempered(), X, valid=X).records
    assert record["valid_loss"] > 0
