"""Data sets without some labels, or with some alone; and what a file called its labels."""

import numpy as np
import pytest
import torch

from pyro_vae.app.text import read_data
from pyro_vae.datasets import (
    Dataset,
    Split,
    arrays,
    digits,
    only_labels,
    without_labels,
)
from pyro_vae.datasets.split import PARTS


def parts(data):
    return [getattr(data, part) for part in PARTS]


def test_data_without_a_label_are_all_others_in_all_parts():
    whole, found = digits(None), without_labels(digits(None), 3)
    for part, kept in zip(parts(whole), parts(found), strict=True):
        assert torch.equal(kept.x, part.x[part.y != 3]) and torch.equal(kept.y, part.y[part.y != 3])


def test_data_of_some_labels_alone_are_those():
    whole, found = digits(None), only_labels(digits(None), 1, 7)
    for part, kept in zip(parts(whole), parts(found), strict=True):
        assert torch.equal(kept.x, part.x[(part.y == 1) | (part.y == 7)])


def test_the_number_of_classes_stays_where_the_last_is_left_out():
    found = without_labels(digits(), 9)
    assert found.num_classes == 10 and found.train.y.max() == 8
    assert "without labels 9" in found.description


def test_a_likelihood_begins_at_the_mean_of_what_is_kept():
    found = only_labels(digits(binarize="threshold"), 1)
    began = found.likelihood((1, 8, 8))(torch.zeros(1, 8, 8)).mean
    expected, whole = found.train.x.mean(0), digits(binarize="threshold").train.x.mean(0)
    inside = (expected > 0.1) & (expected < 0.9)
    assert (began - expected)[inside].abs().max() < 0.02
    assert (whole - expected)[inside].abs().max() > 0.2


def test_a_draw_for_each_batch_stays():
    assert only_labels(digits("dynamic"), 1).train.draw is torch.bernoulli


def test_data_whose_label_is_missing_are_left_out():
    split = Split(torch.rand(4, 2), torch.tensor([-1, 0, 1, 1]))
    found = without_labels(Dataset("mine", split, split, split), 0)
    assert torch.equal(found.train.x, split.x[2:])


def test_a_choice_is_written_as_any_other_data():
    found = read_data("without_labels(digits(binarize=None), 3, 5)")
    assert not torch.isin(found.train.y, torch.tensor([3, 5])).any()


def test_labels_are_chosen_by_their_names(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.rand(60, 3), y=np.array(["cat", "dog", "eel"] * 20))
    data = arrays(tmp_path / "x.npz")
    assert data.label_names == ("cat", "dog", "eel")
    assert only_labels(data, "dog").train.y.unique().tolist() == [1]
    with pytest.raises(ValueError, match="has no label 'cow'; its labels are cat, dog, eel"):
        only_labels(data, "cow")


def test_classes_that_count_from_0_have_no_other_names(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.rand(60, 3), y=np.arange(60) % 3)
    data = arrays(tmp_path / "x.npz")
    assert not data.label_names and data.label_name(2) == "2" and data.label_name(-1) == ""


CONDITIONS = Split(torch.rand(4, 2), torch.rand(4, 1))


@pytest.mark.parametrize(
    "data, labels, sentence",
    [
        (digits, (11,), "digits has no label 11; its labels are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (digits, (), "only_labels is given no label"),
        (lambda: Dataset("mine", *[Split(torch.rand(4, 2))] * 3), (1,), "train has no labels"),
        (lambda: Dataset("mine", *[CONDITIONS] * 3), (1,), "has conditions for labels"),
    ],
    ids=["no such", "none", "without", "conditions"],
)
def test_labels_that_cannot_be_chosen_are_refused(data, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        only_labels(data(), *labels)


def test_a_part_that_would_be_empty_is_refused():
    one, both = (Split(torch.rand(n, 2), torch.arange(n)) for n in (1, 2))
    with pytest.raises(ValueError, match="no data are left in test without labels 0"):
        without_labels(Dataset("mine", both, both, one), 0)


def test_data_that_are_not_in_memory_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.random.rand(60, 3))
    np.save(tmp_path / "y.npy", np.arange(60) % 3)
    data = arrays(tmp_path / "x.npy", y=str(tmp_path / "y.npy"), in_memory=False)
    with pytest.raises(ValueError, match="train is not in memory"):
        only_labels(data, 1)


@pytest.mark.parametrize("standardize", [True, False])
def test_the_numbers_of_a_table_are_restored(tmp_path, standardize):
    rows = np.random.rand(40, 3).round(3) * 7
    np.savez(tmp_path / "x.npz", x=rows)
    data = arrays(tmp_path / "x.npz", standardize=standardize)
    found = data.origin.restored(torch.cat([part.x for part in parts(data)]))
    assert np.abs(np.sort(found.numpy(), 0) - np.sort(rows, 0)).max() < 1e-5


def test_grey_levels_are_restored_as_whole_numbers(tmp_path):
    x = np.random.randint(0, 256, (40, 4, 4), np.uint8)
    np.save(tmp_path / "x.npy", x)
    data = arrays(tmp_path / "x.npy")
    found = data.origin.restored(torch.cat([part.x for part in parts(data)]))
    assert np.array_equal(np.sort(found.numpy().ravel()), np.sort(x.ravel()))
    assert data.origin.restored(torch.tensor([[1.2, -0.3]])).tolist() == [[255, 0]]
