"""Data that need not lie in memory: the same passes, trainings and values as in memory."""

import copy
import math
import os
import signal

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.batches import near
from pyro_vae.datasets import DataSource, Split, Tensors
from pyro_vae.inference import (
    IWAE,
    MMD,
    Trace_ELBO,
    compare,
    evaluate,
    fit,
    log_likelihood,
)
from pyro_vae.inference.checking import check
from pyro_vae.models import VAE, ConditionalVAE

X = (torch.rand(41, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
Y = torch.arange(41) % 3


class Mapped(DataSource):
    """The rows of an .npy file, which is never in memory as a whole."""

    def __init__(self, path, y=None):
        self.x, self.y, self.reads = np.load(path, mmap_mode="r"), y, []

    def __len__(self):
        return len(self.x)

    @property
    def shapes(self):
        return {"x": self.x.shape[1:]} | ({} if self.y is None else {"y": ()})

    @property
    def dtypes(self):
        return {"x": torch.float32} | ({} if self.y is None else {"y": torch.int64})

    def read(self, rows):
        self.reads.append(len(rows))
        batch = {"x": torch.from_numpy(self.x[rows.numpy()])}
        return batch | ({} if self.y is None else {"y": self.y[rows]})


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "x.npy", X.numpy())
    return Mapped(tmp_path / "x.npy")


def weights(data, *, parts=(3,), program=lambda: VAE((1, 4, 4), 2, hidden=(8,)), **options):
    """The parameters after a training, resumed at the end of each part."""
    pyro.set_rng_seed(0)
    module, state = program(), None
    for epochs in parts:
        torch.manual_seed(99 if state else 1)
        options = {"batch_size": 16, "progress": False} | options
        run = fit(module, data, epochs=epochs, resume=state, **options)
        state = copy.deepcopy(run.state_dict())
    return torch.cat([p.flatten() for p in module.parameters()])


# Passes.


def num_rows(source, size=16, **options):
    return [batch["x"].flatten().tolist() for batch in source.batches(size, **options)]


NUMBERS = Tensors(x=torch.arange(41.0))
BOTH = pytest.mark.parametrize(
    "source", [NUMBERS, Split(torch.arange(41.0)).source()], ids=["Tensors", "Split"]
)


@BOTH
def test_a_pass_without_a_seed_takes_the_rows_in_their_order(source):
    assert sum(num_rows(source), []) == list(range(41))
    assert [len(rows) for rows in num_rows(source)] == [16, 16, 9]
    assert source.num_batches(16) == 3


@BOTH
def test_a_seeded_pass_takes_each_datum_once_in_an_order_of_the_seed(source):
    one, again, other = (sum(num_rows(source, seed=seed), []) for seed in (3, 3, 4))
    assert sorted(one) == list(range(41)) and one == again != other
    order = torch.randperm(41, generator=torch.Generator().manual_seed(3))
    assert one == order.tolist()  # of the seed and the number of data alone


@BOTH
@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("count", [2, 3, 12])
def test_shards_share_out_each_batch(source, seed, count):
    whole = num_rows(source, seed=seed)
    shares = [num_rows(source, seed=seed, shard=(index, count)) for index in range(count)]
    assert all(len(share) == len(whole) for share in shares)
    for batch, *parts in zip(whole, *shares, strict=True):
        assert sorted(sum(parts, [])) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(shares[-1][-1]) == (0 if count == 12 else 9 // count)


def test_shards_of_a_split_with_few_labels_have_some_of_them_each():
    split = Split(torch.arange(64.0), torch.where(torch.arange(64) < 8, 1, -1), labelled=0.25)
    for index in (0, 1):
        for batch in split.source().batches(16, seed=0, shard=(index, 2)):
            assert (batch["y"] >= 0).sum() == 2 and len(batch["x"]) == 8


@BOTH
def test_what_are_no_arguments_of_a_pass_is_refused(source):
    with pytest.raises(ValueError, match="size of a batch must be at least 1, but is 0"):
        source.batches(0)
    for shard in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="must be an index below a count"):
            source.batches(4, shard=shard)


def test_shapes_and_types_are_known_without_reading(mapped):
    assert len(mapped) == 41 and mapped.num_batches(16) == 3
    assert mapped.shapes == Split(X).shapes == {"x": (1, 4, 4)}
    assert mapped.dtypes == Split(X).dtypes == {"x": torch.float32}
    assert mapped.reads == []


# Trainings.


def test_a_training_is_bit_for_bit_that_of_the_same_data_in_memory(mapped):
    in_memory = weights(X, valid=X[:20])
    assert torch.equal(weights(mapped, valid=X[:20]), in_memory)
    assert torch.equal(weights(mapped, valid=Tensors(x=X[:20])), in_memory)
    assert max(mapped.reads) == 16


def test_a_training_with_labels_is_that_of_the_same_data_in_memory(mapped):
    def program():
        return ConditionalVAE((1, 4, 4), 2, num_classes=3, hidden=(8,))

    mapped.y = Y
    assert torch.equal(weights(mapped, program=program), weights(Split(X, Y), program=program))


def test_a_resumed_training_is_the_one_that_went_through(mapped):
    assert torch.equal(weights(mapped, parts=(1, 2, 4)), weights(mapped, parts=(4,)))


def test_a_training_interrupted_within_a_pass_takes_the_batches_that_were_left(mapped):
    class Interrupting:
        def __init__(self, program, at):
            self.model, self.inner, self.calls, self.at = program.model, program.guide, 0, at

        def guide(self, x):
            self.calls += 1
            if self.calls == self.at:
                os.kill(os.getpid(), signal.SIGINT)
            self.inner(x)

    def trained(data, at):
        pyro.set_rng_seed(0)
        program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
        torch.manual_seed(1)
        options = {"epochs": 3, "batch_size": 16, "progress": False, "compile": False}
        run = fit(Interrupting(program, at), data, **options)
        if at > 0:
            assert run.interrupted and run.progress.steps_in_epoch
            state = run.state_dict()
            torch.manual_seed(99)
            fit(program, data, resume=state, **options)
        return torch.cat([p.flatten() for p in program.parameters()])

    assert torch.equal(trained(mapped, at=8), trained(X, at=-1))


def test_a_state_is_refused_on_a_source_of_another_length(mapped):
    run = fit(VAE((1, 4, 4), 2, hidden=(8,)), mapped, epochs=1, progress=False)
    with pytest.raises(ValueError, match="had num_data 41, but here it is 8"):
        fit(VAE((1, 4, 4), 2), Tensors(x=X[:8]), epochs=2, resume=run.state_dict())


def test_a_single_last_datum_joins_the_batch_before_it_where_two_are_needed():
    seen = []

    class Seen(Tensors):
        def read(self, rows):
            seen.append(len(rows))
            return super().read(rows)

    run = fit(VAE((1, 4, 4), 2), Seen(x=X), loss=MMD(), epochs=1, batch_size=20, progress=False)
    assert seen == [20, 20, 1] and run.svi.steps == 2


def test_a_source_of_its_own_batches_is_taken_as_it_comes():
    class Stream(DataSource):
        """Batches of one number each, as of sequences of one length."""

        shapes, dtypes = {"x": (1, 4, 4)}, {"x": torch.float32}

        def __len__(self):
            return 41

        def num_batches(self, size):
            return 2

        def batches(self, size, *, seed=None, shard=(0, 1)):
            return iter([{"x": X[:25]}, {"x": X[25:]}])

    run = fit(VAE((1, 4, 4), 2), Stream(), loss=MMD(), epochs=2, batch_size=20, progress=False)
    assert run.svi.steps == 4


# Values.


class Shifted(nn.Module):
    """z ~ N(0, 1), x ~ N(z + y, 1), so x ~ N(y, 2); the guide is the posterior."""

    def __init__(self):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def model(self, x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0))
            pyro.sample("x", dist.Normal(z + y, 1.0), obs=x)

    def guide(self, x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x - y) / 2 + self.zero, math.sqrt(0.5)))


NUMBER = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABEL = torch.arange(50) % 3
EVIDENCE = dist.Normal(LABEL.double(), math.sqrt(2)).log_prob(NUMBER)
FORMS = {
    "tensors": ((NUMBER, LABEL), {}),
    "Split": ((Split(NUMBER, LABEL),), {}),
    "a share of labels": ((Split(NUMBER, LABEL, labelled=0.5),), {}),
    "Tensors": ((Tensors(x=NUMBER, y=LABEL, other=LABEL),), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_values_of_a_source_are_the_evidence_of_each_datum_in_order(form):
    data, _ = FORMS[form]
    program = Shifted()
    y = {"y": data[1]} if len(data) > 1 else {}
    torch.testing.assert_close(evaluate(program, *data, batch_size=20).bound, EVIDENCE)
    torch.testing.assert_close(log_likelihood(program, data[0], 3, **y, batch_size=20), EVIDENCE)


@pytest.mark.parametrize("form", FORMS)
def test_estimators_are_compared_on_data_with_labels(form):
    data, _ = FORMS[form]
    y = {"y": data[1]} if len(data) > 1 else {}
    found = compare(
        Shifted(), data[0], [Trace_ELBO(), IWAE()], **y, num_particles=(2,), repeats=3,
        data=Split(NUMBER, LABEL), held_out=Split(NUMBER, LABEL), train_steps=1, progress=False,
        optim=pyro.optim.SGD({"lr": 0.0}),
    )  # fmt: skip
    assert found.num_data == 50 and found.refusals() == []
    for row in found.rows:
        assert row.bound == pytest.approx(EVIDENCE.mean().item())
        assert row.equal_steps.log_likelihood == pytest.approx(EVIDENCE.mean().item())


def test_a_source_is_compared_and_checked_on_its_first_128_data():
    numbers = torch.randn(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(300) % 3
    source = Tensors(y=labels, x=numbers)
    evidence = dist.Normal(labels.double(), math.sqrt(2)).log_prob(numbers)[:128].mean().item()
    found = compare(Shifted(), source, [Trace_ELBO()], num_particles=(1,), repeats=2)
    assert found.num_data == 128 and found.rows[0].bound == pytest.approx(evidence)
    assert check(Shifted(), source).loss == pytest.approx(-evidence)


@pytest.mark.parametrize("form", FORMS)
def test_the_preflight_takes_what_a_training_takes(form):
    data, _ = FORMS[form]
    assert check(Shifted(), *data).loss == pytest.approx(-EVIDENCE.mean().item())


def test_a_source_becomes_of_the_type_of_the_program(mapped):
    program = VAE((1, 4, 4), 2, hidden=(8,)).double()
    fit(program, mapped, epochs=1, progress=False)
    assert evaluate(program, mapped).bound.dtype == torch.float64


@pytest.mark.parametrize("free, moved", [(4 * X.nbytes, True), (4 * X.nbytes - 1, False)])
def test_a_split_goes_to_a_gpu_whole_if_it_takes_a_quarter_of_its_free_memory(
    free, moved, monkeypatch, mapped
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**12))
    monkeypatch.setattr(Split, "to", lambda self, device: device)
    split, gpu = Split(X), torch.device("cuda")
    assert near(split, gpu) is (gpu if moved else split)
    assert near(mapped, gpu) is mapped and near(split, torch.device("cpu")) is split


# Names.


class Pair(nn.Module):
    """An image and a text of one latent, in an order of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def model(self, text, image):
        assert text.dtype == torch.int64
        with pyro.plate("data", len(image)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("image", dist.Normal(z, self.scale.exp()), obs=image)
            pyro.sample("text", dist.Poisson(z.exp()), obs=text)

    def guide(self, text, image):
        with pyro.plate("data", len(image)):
            pyro.sample("z", dist.Normal(image / 2, self.scale.exp()))


PAIRS = Tensors(image=torch.randn(20), text=torch.arange(20) % 4, label=torch.zeros(20))


def test_a_program_gets_the_data_of_its_names():
    run = fit(Pair(), PAIRS, valid=PAIRS, epochs=2, batch_size=8, progress=False)
    assert run.svi.steps == 6 and {"rate", "distortion"} <= run.records[-1].keys()
    assert evaluate(Pair(), PAIRS).bound.shape == (20,)
    assert check(Pair(), PAIRS).loss > 0


@pytest.mark.parametrize(
    "model, guide, sentence",
    [
        (lambda x: None, None, r"model\(x\) takes none of the data, which are image, text, label"),
        (lambda image, mask: None, None, r"model\(image, mask\) needs mask too, but the data are"),
        (lambda n=3, image=None: None, None, "has other parameters before its data; begin with"),
        (lambda image, *, text: None, None, r"takes text by keyword only.*delete the \*"),
        (lambda image, text: None, lambda text, image: None, "both get the same arguments"),
        (lambda image, text: None, lambda image: None, "both get the same arguments"),
        (lambda image: None, lambda image, mask: None, r"guide\(image, mask\) needs mask too"),
    ],
)
def test_data_that_a_program_does_not_name_are_refused(model, guide, sentence):
    program = nn.Module()
    program.model, program.guide = model, guide or model
    for use in (fit, evaluate, check):
        with pytest.raises(ValueError, match=sentence):
            use(program, PAIRS)


def test_a_guide_may_call_data_by_other_names_in_their_order():
    program = Pair()
    guide, program.guide = program.guide, lambda words, picture: guide(words, picture)
    assert fit(program, PAIRS, epochs=1, progress=False).svi.steps == 1


# Bad sources.


def test_a_source_that_gives_other_tensors_than_it_says_is_refused(mapped):
    mapped.read = lambda rows: {"image": X[rows]}
    with pytest.raises(TypeError, match=r"gave a batch of \['image'\], but by its shapes it has"):
        fit(VAE((1, 4, 4), 2), mapped)


def test_a_source_that_cannot_be_read_says_what_to_define():
    class Empty(DataSource):
        shapes, dtypes = {"x": (1,)}, {"x": torch.float32}

        def __len__(self):
            return 3

    with pytest.raises(NotImplementedError, match="Empty defines neither read nor batches"):
        fit(VAE((1,), 2), Empty())


def test_tensors_of_two_lengths_or_of_another_type_are_refused():
    with pytest.raises(ValueError, match=r"tensors of one length, by name, but got \{'x': 3"):
        Tensors(x=torch.zeros(3), y=torch.zeros(2))
    with pytest.raises(ValueError, match="tensors of one length"):
        Tensors()
    with pytest.raises(TypeError, match=r"x is of type ndarray; give x=torch.as_tensor\(x\)"):
        Tensors(x=np.zeros(3))


def test_labels_beside_a_source_and_sources_without_data_are_refused():
    for use in (evaluate, check):
        with pytest.raises(ValueError, match="the labels y belong to data in a tensor"):
            use(Shifted(), Split(NUMBER, LABEL), y=LABEL)
        with pytest.raises(ValueError, match="there are no data"):
            use(Shifted(), Tensors(x=NUMBER[:0], y=LABEL[:0]))
    with pytest.raises(ValueError, match="the data are empty"):
        fit(Shifted(), Tensors(x=NUMBER[:0], y=LABEL[:0]))
