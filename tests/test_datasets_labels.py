"""Labels: in batches, in data sets, few among many, and as conditions."""

import gzip
import math

import numpy as np
import pytest
import torch

from pyro_vae import datasets
from pyro_vae.datasets import Dataset, Split


def _semi(num=23, known=4, **more):
    """Items that are their own numbers, of which the first few have a class."""
    y = torch.full((num,), -1)
    y[:known] = torch.arange(known)
    return Split(torch.arange(float(num))[:, None], y, **more)


@pytest.mark.parametrize("shuffle", [False, True])
def test_labels_come_with_their_items(shuffle):
    y = torch.arange(10)
    batches = list(Split(y[:, None] * 2.0, y).batches(4, shuffle=shuffle, labels=True))
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    assert all(x[:, 0].equal(2.0 * y) for x, y in batches)
    assert torch.cat([y for _, y in batches]).sort().values.equal(y)


def test_asking_for_labels_changes_neither_order_nor_draws():
    split = Split(torch.rand(50, 3), torch.arange(50), draw=torch.bernoulli)
    found = []
    for labels in (False, True):
        torch.manual_seed(0)
        found.append([batch[0] for batch in split.batches(20, shuffle=True, labels=labels)])
    assert all(one.equal(two) for one, two in zip(*found, strict=True))


def test_data_without_labels_say_so():
    with pytest.raises(ValueError, match="the data have no labels"):
        Split(torch.zeros(2, 1)).batches(1, labels=True)


@pytest.mark.parametrize("batch_size", [2, 5, 8, 30, 64])
@pytest.mark.parametrize("shuffle", [False, True])
def test_each_batch_has_its_share_of_labelled_items(batch_size, shuffle):
    split = _semi(labelled=0.25)
    batches = list(split.batches(batch_size, shuffle=shuffle, labels=True))
    assert {len(x) for x, _ in batches} == {batch_size}
    assert split.num_batches(batch_size, labels=True) == len(batches)
    labelled = max(1, round(0.25 * batch_size))
    for x, y in batches:
        assert (y >= 0).tolist() == [True] * labelled + [False] * (batch_size - labelled)
        assert y.equal(split.y[x[:, 0].long()])


@pytest.mark.parametrize("batch_size", [5, 8, 64])
def test_the_others_pass_once_but_for_the_last_batch(batch_size):
    batches = _semi(labelled=0.25).batches(batch_size, shuffle=True, labels=True)
    others = torch.cat([x[y < 0, 0] for x, y in batches]).long()
    assert others[:19].sort().values.tolist() == list(range(4, 23))
    assert others.equal(others[:19].repeat(3)[: len(others)])
    size = batch_size - round(0.25 * batch_size)
    assert len(others) == size * math.ceil(19 / size)


def test_labelled_items_are_taken_in_turn():
    batches = _semi(labelled=0.25).batches(8, shuffle=True, labels=True)
    known = torch.cat([y[y >= 0] for _, y in batches])
    assert known.bincount().tolist() == [2, 2, 2, 2]  # 4 batches of 2


def test_without_labels_all_items_pass_once_whatever_the_share():
    split = _semi(labelled=0.25)
    x = torch.cat([x for (x,) in split.batches(8, shuffle=True)])
    assert x[:, 0].sort().values.equal(split.x[:, 0])
    assert split.num_batches(8) == 3


@pytest.mark.parametrize("known", [0, 23])
def test_there_is_nothing_to_mix_where_all_labels_are_known_or_none(known):
    split = _semi(known=known, labelled=0.25)
    assert [len(x) for x, _ in split.batches(8, labels=True)] == [8, 8, 7]
    assert split.num_batches(8, labels=True) == 3


def test_a_generator_fixes_the_order_of_mixed_batches():
    one, two = (
        _semi(labelled=0.25).batches(
            8, shuffle=True, labels=True, generator=torch.Generator().manual_seed(3)
        )
        for _ in range(2)
    )
    assert all(a[0].equal(b[0]) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("labelled", [-0.1, 1, 16])
def test_a_share_is_below_one(labelled):
    with pytest.raises(ValueError, match=f"from 0 to below 1, but is {labelled}"):
        Split(torch.zeros(2, 1), labelled=labelled)


def test_a_mixed_batch_needs_two_items():
    with pytest.raises(ValueError, match="batch_size must be at least 2, but is 1"):
        _semi(labelled=0.25).batches(1, labels=True)


def test_a_data_set_knows_its_labels():
    x = torch.zeros(3, 2)
    none, some = Split(x), Split(x, torch.tensor([0, -1, 4]))
    real = Split(x, torch.rand(3, 7))
    found = [Dataset("", s, s, s) for s in (none, some, real)]
    assert [data.num_classes for data in found] == [None, 5, None]
    assert [data.y_shape for data in found] == [None, (), (7,)]


@pytest.mark.parametrize(
    "y, sentence",
    [
        (torch.zeros(3, 2), "different kinds or shapes"),
        (torch.zeros(3), "different kinds or shapes"),
        (torch.zeros(2).long(), "test has 3 items, but 2 labels"),
    ],
)
def test_parts_with_other_labels_are_no_data_set(y, sentence):
    x = torch.zeros(3, 2)
    train = Split(x, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=sentence):
        Dataset("mixed", train, train, Split(x, y))


def test_few_labels_are_equally_many_of_each_class_and_true():
    full, few = datasets.digits(None), datasets.digits(None, labels=100)
    known = few.train.y >= 0
    assert few.train.y[known].bincount().tolist() == [10] * 10
    assert few.train.y[known].equal(full.train.y[known]) and few.train.x.equal(full.train.x)
    assert few.valid.y.equal(full.valid.y) and few.test.y.equal(full.test.y)
    assert few.num_classes == 10 and few.valid.labelled == few.test.labelled == 0
    _, y = next(few.train.batches(128, labels=True))
    assert (y >= 0).sum() == 16  # an eighth


def test_the_same_labels_are_kept_every_time_and_more_are_kept_besides():
    one, two, more = (datasets.digits(labels=n).train.y for n in (50, 50, 200))
    assert one.equal(two) and (more[one >= 0] == one[one >= 0]).all()


@pytest.mark.parametrize("labels", [0, -10, 7, 101, 1290, 1297])
def test_labels_that_cannot_be_shared_out_are_refused(labels):
    with pytest.raises(
        ValueError, match=f"labels is {labels}, but must be a multiple of the 10 cl"
    ):
        datasets.digits(labels=labels)


@pytest.mark.parametrize("name, load", [("MNIST", "mnist"), ("FashionMNIST", "fashion_mnist")])
def test_few_labels_of_idx_files(tmp_path, name, load):
    raw = tmp_path / name / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind, found in (
            ("images-idx3", np.zeros((48, 28, 28))),
            ("labels-idx1", np.arange(48) % 4),
        ):
            header = bytes([0, 0, 8, found.ndim]) + np.array(found.shape, ">i4").tobytes()
            content = gzip.compress(header + found.astype(np.uint8).tobytes())
            (raw / f"{part}-{kind}-ubyte.gz").write_bytes(content)
    data = getattr(datasets, load)(tmp_path, labels=8)
    assert (data.train.y + 1).bincount().tolist() == [32, 2, 2, 2, 2]
    assert data.valid.y.min() == data.test.y.min() == 0
    every = getattr(datasets, load)(tmp_path, labels=40)  # all of the training part
    assert every.train.y.min() == 0 and every.train.labelled == 0


@pytest.mark.parametrize("shape, y_shape", [((30,), (1,)), ((30, 4), (4,)), ((30, 2, 3), (2, 3))])
def test_floating_labels_are_conditions(tmp_path, shape, y_shape):
    y = np.random.default_rng(0).standard_normal(shape)
    np.savez(tmp_path / "x.npz", x=y.reshape(30, -1)[:, :1].repeat(2, 1), y=y)
    data = datasets.arrays(tmp_path / "x.npz")
    assert data.y_shape == y_shape and data.num_classes is None
    assert data.test.y.dtype == torch.float32
    assert data.test.y.flatten(1)[:, 0].equal(data.test.x[:, 0])


@pytest.mark.parametrize(
    "y, sentence",
    [
        (np.array([0.0, np.inf, 1.0]), "labels that are infinite"),
        (np.zeros((2, 3)), r"labels of shape \(2, 3\), but expected \(3,\)"),
        (np.zeros((3, 2), int), r"labels of shape \(3, 2\), but expected \(3,\)"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, y, sentence):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 2)), y=y)
    with pytest.raises(ValueError, match=sentence):
        datasets.arrays(tmp_path / "x.npz")
