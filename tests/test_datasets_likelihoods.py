"""Each data set names a likelihood that its data lie in, and binarizing changes it."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae import datasets
from pyro_vae.datasets import Dataset, Split
from pyro_vae.likelihoods import Bernoulli, Binomial, ContinuousBernoulli, Normal


def _built(data):
    likelihood = data.likelihood(data.x_shape)
    h = torch.zeros(len(data.test), *likelihood.param_shape)
    assert likelihood(h).log_prob(data.test.x).isfinite().all()  # validates the support, too
    return likelihood


def test_a_data_set_is_binary_unless_it_says_otherwise():
    split = Split(torch.zeros(3, 2))
    assert Dataset("", split, split, split).likelihood is Bernoulli


def test_levels_of_digits_are_counts_of_sixteen():
    likelihood = _built(datasets.digits(None))
    assert isinstance(likelihood, Binomial) and likelihood.total_count == 16


@pytest.mark.parametrize("binarize", ["dynamic", "static", "threshold"])
def test_binarized_images_are_bernoulli_and_start_at_their_mean(binarize):
    data = datasets.digits(binarize)
    likelihood = _built(data)
    assert isinstance(likelihood, Bernoulli)
    x = next(data.train.batches(2000))[0]
    mean = data.train.x.mean(0).clamp(1e-3, 1 - 1e-3)
    p = likelihood(torch.zeros(1, *data.x_shape))
    assert p.support.check(x).all()
    torch.testing.assert_close(p.mean[0], mean)


@pytest.mark.parametrize("binarize", ["dynamic", "static", "threshold"])
def test_the_likelihood_of_columns_is_built_for_one_step_too(binarize):
    data = datasets.digit_columns(binarize)
    assert data.likelihood is Bernoulli
    x = next(data.train.batches(2000))[0]
    assert Bernoulli(data.x_shape)(x).support.check(x).all()
    assert Bernoulli((8,))(x).log_prob(x).shape == (1297, 8)


@pytest.mark.parametrize(
    "x, kind",
    [
        ([0.0, 1.0], Bernoulli),
        ([0.0, 0.5, 1.0], ContinuousBernoulli),
        ([0.0, 1.5], Normal),
        ([-0.5, 0.5], Normal),
    ],
)
def test_arrays_have_the_likelihood_of_their_range(tmp_path, x, kind):
    np.save(tmp_path / "x.npy", np.resize(np.array(x), (60, 2)))
    assert isinstance(_built(datasets.arrays(tmp_path / "x.npy")), kind)


def test_binarized_arrays_and_pictures_are_bernoulli(tmp_path):
    for i in range(3):
        Image.new("RGB", (4, 4), (i, 90, 200)).save(tmp_path / f"{i}.png")
    np.save(tmp_path / "x.npy", np.linspace(0, 1, 60).reshape(30, 2))
    assert isinstance(_built(datasets.arrays(tmp_path / "x.npy", binarize="static")), Bernoulli)
    assert isinstance(_built(datasets.folder(tmp_path, binarize="threshold")), Bernoulli)


def test_the_scale_of_photographs_is_learned_from_a_tenth_on(tmp_path):
    for i in range(3):
        Image.new("RGB", (4, 4), (i, 90, 200)).save(tmp_path / f"{i}.png")
    data = datasets.folder(tmp_path)
    likelihood = _built(data)
    assert isinstance(likelihood, Normal) and likelihood.param_shape == data.x_shape
    assert likelihood.log_scale.requires_grad and likelihood.log_scale.shape == ()
    assert likelihood.log_scale.exp().item() == pytest.approx(0.1)
    assert data.likelihood(data.x_shape).log_scale is not likelihood.log_scale


def test_columns_of_digits_are_their_images_on_their_side():
    images, columns = datasets.digits(None), datasets.digit_columns(None)
    assert columns.x_shape == (8, 8) and columns.num_classes == 10
    assert columns.valid.x[:, 3].equal(images.valid.x[:, 0, :, 3])
    assert columns.valid.y.equal(images.valid.y)


@pytest.mark.parametrize("binarize", [None, "static", "dynamic"])
def test_ragged_columns_end_where_the_grey_image_is_empty(binarize):
    grey = datasets.digits(None).train.x.squeeze(1)
    whole = datasets.digit_columns("static" if binarize else None).train.x
    ragged = datasets.digit_columns(binarize, ragged=True).train
    lengths = [max(t for t in range(8) if image[:, t].any()) + 1 for image in grey]
    assert set(lengths) == {5, 6, 7, 8}
    for x, all_x, length in zip(ragged.x, whole, lengths, strict=True):
        assert x[:length].isfinite().all() and x[length:].isnan().all()
        assert binarize == "dynamic" or x[:length].equal(all_x[:length])


def test_ragged_columns_are_drawn_afresh_before_their_end():
    split = datasets.digit_columns("dynamic", ragged=True).train
    torch.manual_seed(0)
    (one,), (two,) = next(split.batches(500)), next(split.batches(500))
    assert one.isnan().equal(split.x[:500].isnan()) and two.isnan().equal(one.isnan())
    assert set(one.nan_to_num(0).unique().tolist()) == {0, 1}
    assert not one.nan_to_num(0).equal(two.nan_to_num(0))
