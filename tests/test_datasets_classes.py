"""What the labels of users' own data are taken for: classes, missing ones, conditions."""

import numpy as np
import pytest
import torch

from pyro_vae import datasets


def _labelled(tmp_path, y, **options):
    """Data whose first column is their place in the file."""
    x = np.stack([np.arange(len(y)) / 100, np.ones(len(y))], 1)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    return datasets.arrays(tmp_path / "x.npz", **options)


def _in_order(data):
    """The labels in the order of the file."""
    x = torch.cat([data.train.x, data.valid.x, data.test.x])
    y = torch.cat([data.train.y, data.valid.y, data.test.y])
    return y[x[:, 0].argsort()].tolist()


CLASSES = {
    "from 0": (np.arange(30) % 3, [0, 1, 2], "3 classes"),
    "from 1": (np.arange(30) % 3 + 1, [0, 1, 2], "3 classes, 0 to 2, from the labels 1, 2, 3"),
    "with a gap": (np.array([3, 8, 5] * 10), [0, 2, 1], "3 classes, 0 to 2, from the labels 3, 5"),
    "a column": (np.arange(30)[:, None] % 3, [0, 1, 2], "3 classes"),
    "booleans": (np.arange(30) % 3 == 1, [0, 1, 0], "2 classes"),
    "bytes": (np.arange(30, dtype=np.uint8) % 3, [0, 1, 2], "3 classes"),
    "texts": (np.array(["dog", "cat", "eel"] * 10), [1, 0, 2], "from the labels cat, dog, eel"),
    "floating": (np.arange(30) % 3 * 1.0, [0, 1, 2], "3 classes"),
    "floating from 1": (np.arange(30) % 3 + 1.0, [0, 1, 2], "3 classes, 0 to 2, from the labels 1"),
}


@pytest.mark.parametrize("y, numbers, words", CLASSES.values(), ids=CLASSES)
def test_labels_are_numbered_classes_and_it_is_said(tmp_path, y, numbers, words):
    data = _labelled(tmp_path, y)
    assert _in_order(data) == numbers * 10
    assert data.num_classes == len(set(numbers)) and data.y_shape == ()
    assert words in data.description


MISSING = {
    "-1": np.where(np.arange(30) % 2, np.arange(30) % 3, -1),
    "-1 from 1": np.where(np.arange(30) % 2, np.arange(30) % 3 + 1, -1),
    "NaN": np.where(np.arange(30) % 2, np.arange(30) % 3, np.nan),
    "empty texts": np.where(np.arange(30) % 2, np.array(["a", "b", "c"] * 10), ""),
}


@pytest.mark.parametrize("y", MISSING.values(), ids=MISSING)
def test_labels_that_are_missing_are_minus_one(tmp_path, y):
    data = _labelled(tmp_path, y)
    assert _in_order(data) == [i % 3 if i % 2 else -1 for i in range(30)]
    assert data.num_classes == 3 and "15 labels missing" in data.description


def test_parts_are_numbered_alike(tmp_path):
    x = np.random.default_rng(0).random((10, 2))
    y, y_test = np.array([2, 4] * 5), np.array([4, 7] * 5)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x, y_test=y_test)
    data = datasets.arrays(tmp_path / "x.npz")
    assert data.test.y.tolist() == [1, 2] * 5 and data.num_classes == 3
    assert set(data.train.y.tolist()) == {0, 1}


def test_fractions_are_conditions_of_which_nan_is_missing(tmp_path):
    y = np.arange(30) / 7
    y[3] = np.nan
    data = _labelled(tmp_path, y)
    assert data.y_shape == (1,) and data.num_classes is None
    found = [row[0] for row in _in_order(data)]
    np.testing.assert_allclose(found, y, rtol=1e-6)  # NaN in the same place
    assert "conditions of shape (1,), real numbers, 1 entries missing (NaN)" in data.description


def test_minus_one_is_missing_among_integers_alone(tmp_path):
    data = _labelled(tmp_path, np.arange(30) % 3 - 1.0)
    assert data.y_shape == (1,) and [row[0] for row in _in_order(data)] == [-1, 0, 1] * 10


def test_a_column_of_floating_labels_stays_a_condition(tmp_path):
    data = _labelled(tmp_path, (np.arange(30) % 3 * 1.0)[:, None])
    assert data.y_shape == (1,) and data.num_classes is None


@pytest.mark.parametrize(
    "y, sentence",
    [
        (np.full(30, -1), "has nothing for labels beside those that are missing"),
        (np.where(np.arange(30) % 2, 1, -1), "only 1 for labels .*number the classes from 0 on"),
        (np.arange(30) - 5, "labels from -5 on, but expected classes from 0 on"),
        (np.full(30, np.inf), "labels that are infinite"),
        (np.full(30, 1e300), "labels too large for float32"),
        (np.arange(29), r"labels of shape \(29,\), but expected \(30,\).* 30 items"),
        (np.ones(30, complex), "labels of dtype complex128"),
    ],
)
def test_labels_that_mean_nothing_are_named(tmp_path, y, sentence):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((30, 2)), y=y)
    with pytest.raises(ValueError, match=f"x.npz has {sentence}|{sentence}"):
        datasets.arrays(tmp_path / "x.npz")


def test_parts_with_labels_of_two_kinds_are_refused(tmp_path):
    x = np.random.default_rng(0).random((10, 2))
    y = np.arange(10)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x, y_test=y / 7)
    with pytest.raises(ValueError, match=r"labels of different kinds \(int64, float64\)"):
        datasets.arrays(tmp_path / "x.npz")


def test_few_labels_of_own_data_are_kept_as_those_of_the_built_in(tmp_path):
    y = np.arange(1000) % 4 + 1
    full, few = _labelled(tmp_path, y), _labelled(tmp_path, y, labels=40)
    known = few.train.y >= 0
    assert few.train.y[known].bincount().tolist() == [10] * 4
    assert few.train.y[known].equal(full.train.y[known]) and few.valid.y.equal(full.valid.y)
    assert "40 of them kept for training" in few.description
    _, y_batch = next(few.train.batches(64, labels=True))
    assert (y_batch >= 0).sum() == 8  # an eighth


def test_few_labels_are_kept_among_those_that_are_there(tmp_path):
    y = np.where(np.arange(1000) % 2, np.arange(1000) % 4, -1)  # classes 1 and 3
    few = _labelled(tmp_path, y, labels=20)
    assert few.train.y[few.train.y >= 0].bincount().tolist() == [10, 10]


def test_labels_that_are_rare_in_the_file_get_their_share_of_a_batch(tmp_path):
    y = np.full(1000, -1)
    y[::50] = np.arange(20) % 2
    _, y_batch = next(_labelled(tmp_path, y).train.batches(64, labels=True))
    assert (y_batch >= 0).sum() == 8


def test_labels_that_are_common_come_as_they_come(tmp_path):
    y = np.where(np.arange(1000) % 2, np.arange(1000) // 2 % 2, -1)
    train = _labelled(tmp_path, y).train
    assert train.labelled == 0 and train.num_batches(64, labels=True) == 13


@pytest.mark.parametrize("y, found", [(None, "no labels"), (np.arange(30) / 7, "conditions")])
def test_labels_cannot_be_kept_where_there_are_none(tmp_path, y, found):
    x = np.random.default_rng(0).random((30, 2))
    np.savez(tmp_path / "x.npz", x=x, **({} if y is None else {"y": y}))
    with pytest.raises(ValueError, match=f"labels=10 keeps so many labels, but there are {found}"):
        datasets.arrays(tmp_path / "x.npz", labels=10)


def test_conditions_that_are_missing_count_as_unknown():
    y = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [3.0, 4.0], [5.0, torch.nan]])
    split = datasets.Split(torch.arange(4.0)[:, None], y, labelled=0.5)
    batches = list(split.batches(2, labels=True))
    assert len(batches) == 2
    for x, _ in batches:
        assert x[0, 0] in (0, 2) and x[1, 0] in (1, 3)
