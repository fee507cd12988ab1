"""What the numbers of users' own arrays are taken for, and that it is said."""

import numpy as np
import pytest
import torch

from pyro_vae import datasets
from pyro_vae.app.text import text_of
from pyro_vae.likelihoods import Bernoulli, ContinuousBernoulli, Mixed, Normal

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_numbers_whichever_tests_ran_before():
    RNG.bit_generator.state = START


def _arrays(tmp_path, x, **options):
    np.save(tmp_path / "x.npy", x)
    return datasets.arrays(tmp_path / "x.npy", **options)


def _rows(data):
    """All items, sorted."""
    x = torch.cat([data.train.x, data.valid.x, data.test.x]).flatten(1).numpy()
    return x[np.lexsort(x.T[::-1])]


def _sorted(x):
    x = x.reshape(len(x), -1)
    return x[np.lexsort(x.T[::-1])]


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "u4", "f4", "f8", ">f8"])
def test_pictures_of_whole_numbers_up_to_255_are_grey_levels_whatever_their_type(tmp_path, dtype):
    x = RNG.integers(0, 256, (40, 4, 5)).astype(dtype)
    data = _arrays(tmp_path, x)
    np.testing.assert_array_equal(_rows(data), _sorted((x / 255).astype(np.float32)))
    assert data.likelihood is ContinuousBernoulli and data.x_shape == (1, 4, 5)
    assert f"grey levels of 0 to 255, here from 0 to 255 ({x.dtype}), divided by 255" in (
        data.description
    )


@pytest.mark.parametrize("dtype", ["u2", ">u2", "i4"])
def test_pictures_of_sixteen_bits_are_divided_by_their_white(tmp_path, dtype):
    x = RNG.integers(0, 2**16, (40, 4, 5)).astype(dtype)
    data = _arrays(tmp_path, x)
    np.testing.assert_array_equal(_rows(data), _sorted((x / 65535).astype(np.float32)))
    assert "grey levels of 0 to 65,535" in data.description


def test_flat_pictures_from_black_to_white_are_grey_levels(tmp_path):
    x = RNG.integers(0, 256, (40, 100))
    x[0, :2] = 0, 255
    data = _arrays(tmp_path, x, x_shape=(1, 10, 10))
    assert data.train.x.max() <= 1 and data.x_shape == (1, 10, 10)
    assert "items of shape (100,) reshaped" in data.description


@pytest.mark.parametrize(
    "x, kind",
    [
        (RNG.integers(0, 17, (40, 4, 5)), "whole numbers from 0 to 16"),
        (RNG.integers(0, 17, (40, 6)).astype(float), "whole numbers from 0 to 16"),
        (np.linspace(-3, 2, 80).reshape(20, 4), "real numbers from -3 to 2 (float64)"),
        (np.arange(80).reshape(20, 4) % 2 == 0, "zeros and ones (bool)"),
        (np.arange(80).reshape(20, 4) % 2, "zeros and ones (int64)"),
    ],
)
def test_other_numbers_stay_as_they_are_and_are_named(tmp_path, x, kind):
    data = _arrays(tmp_path, x)
    np.testing.assert_array_equal(_rows(data), _sorted(x.astype(np.float32)))
    assert kind in data.description


BEYOND = {
    "a table near 1e4": (1e4 + 1e3 * RNG.standard_normal((40, 5)), "standardize=True"),
    "a table of counts": (RNG.integers(0, 900, (40, 5)), "standardize=True"),
    "12 bits": (RNG.integers(0, 4096, (40, 4, 5), np.uint16), "scale=4095 if they are grey"),
    "signed": (RNG.integers(-200, 200, (40, 4, 5)), "scale=1 to take them as they are"),
    "rather dim": (RNG.integers(0, 101, (40, 4, 5)) + 1, "scale=255 if they are grey levels"),
    "dim": (RNG.integers(0, 120, (40, 4, 5)), "scale=255 if they are grey levels of 0 to 255"),
    "resized levels": (255 * RNG.random((40, 4, 5)), "scale=255 if they are grey levels"),
    "tiny": (1e-6 * RNG.standard_normal((40, 5)), "standardize=True"),
}


@pytest.mark.parametrize("x, advice", BEYOND.values(), ids=BEYOND)
def test_numbers_that_no_network_takes_are_refused_by_range_and_argument(tmp_path, x, advice):
    with pytest.raises(ValueError, match="numbers from .* to .*networks expect .*size of 1") as e:
        _arrays(tmp_path, x)
    assert advice in str(e.value) and f"{x.max():.6g}" in str(e.value)
    as_they_are = _arrays(tmp_path, x, scale=1)
    np.testing.assert_array_equal(_rows(as_they_are), _sorted(x.astype(np.float32)))


def test_standardized_columns_have_mean_0_and_deviation_1_in_the_training_part(tmp_path):
    x = np.array([1e4, 5.0, 0.0, 1e8]) + np.array([1e3, 1e-4, 2, 1]) * RNG.standard_normal((200, 4))
    data = _arrays(tmp_path, x, standardize=True)
    train = data.train.x.double()
    # float32 keeps numbers of size 3 to 2e-7
    torch.testing.assert_close(train.mean(0), torch.zeros(4).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        train.std(0, correction=0), torch.ones(4).double(), atol=1e-6, rtol=0
    )
    assert data.likelihood is Normal and data.train.x.dtype == torch.float32
    # each column of all parts is one line of the file's
    found = torch.cat([data.train.x, data.valid.x, data.test.x]).double().numpy()
    for column, there in zip(np.sort(found, 0).T, np.sort(x, 0).T, strict=True):
        slope, offset = np.polyfit(column, there - there.mean(), 1)
        np.testing.assert_allclose(slope * column + offset, there - there.mean(), atol=3e-6 * slope)


def test_standardized_pictures_keep_what_a_channel_has_in_common(tmp_path):
    x = RNG.integers(0, 256, (40, 4, 5, 3), np.uint8)
    data = _arrays(tmp_path, x, standardize=True)
    assert data.x_shape == (3, 4, 5)
    train = data.train.x.double()
    torch.testing.assert_close(train.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-6, rtol=0)
    channel = x[..., 0].astype(float)
    spread = (channel.max() - channel.min()) / (train[:, 0].max() - train[:, 0].min())
    assert 60 < spread < 90  # 256 / sqrt(12) = 74 levels a standard deviation


def test_a_column_of_one_value_becomes_0_and_is_named(tmp_path):
    x = RNG.standard_normal((40, 3)) * 50
    x[:, 1] = 12345.678
    data = _arrays(tmp_path, x, standardize=True)
    assert data.train.x[:, 1].abs().max() == 0 and data.train.x.isfinite().all()
    assert "column 1 of the training part hold" in data.description


def test_numbers_that_are_large_for_a_network_come_with_advice(tmp_path):
    x = RNG.integers(0, 60, (40, 4, 5))
    x[0, 0, 0] = 59
    advice = "scale=255 if they are grey levels, or standardize=True would bring them"
    assert advice in _arrays(tmp_path, x).description


def test_outliers_of_a_standardized_table_are_named(tmp_path):
    x = RNG.standard_normal((400, 3))
    x[:, 1] = 0
    x[0, 1] = 100  # the mean is 1/4 and the deviation sqrt(399) / 4, so that it is sqrt(399) away
    np.savez(tmp_path / "x.npz", train=x, valid=x[:5], test=x[:5])
    description = datasets.arrays(tmp_path / "x.npz", standardize=True).description
    assert "up to 20 deviations from the mean; ZeroImputed takes asinh of them" in description


def test_a_table_that_does_not_vary_is_still_one_of_real_numbers(tmp_path):
    data = _arrays(tmp_path, np.full((30, 3), 7.0), standardize=True)
    assert data.likelihood is Normal and data.train.x.abs().max() == 0


def test_scale_and_standardize_exclude_each_other():
    with pytest.raises(ValueError, match="give scale or standardize=True, not both"):
        datasets.arrays("x.npy", scale=2, standardize=True)


@pytest.mark.parametrize(
    "x, columns",
    [
        (np.where(RNG.random((60, 4)) < 0.5, 0.0, 1.0), Bernoulli),
        (RNG.random((60, 4)), ContinuousBernoulli),
        (RNG.standard_normal((60, 4)), Normal),
    ],
)
def test_nan_is_missing_and_left_out_of_the_likelihood(tmp_path, x, columns):
    x[::3, 1] = np.nan
    data = _arrays(tmp_path, x)
    assert "20 entries missing (NaN)" in data.description
    found = torch.cat([data.train.x, data.valid.x, data.test.x])
    assert int(found.isnan().sum()) == 20 and found[:, 1].isnan().sum() == 20
    likelihood = data.likelihood((4,))
    assert isinstance(likelihood, Mixed) and isinstance(likelihood.columns[0], columns)
    log_p = likelihood(torch.zeros(60, *likelihood.param_shape)).log_prob(found)
    assert log_p.isfinite().all()


def test_the_likelihood_of_a_table_with_missing_entries_has_a_text_for_a_run(tmp_path):
    x = RNG.standard_normal((60, 4))
    x[::3, 1] = np.nan
    assert text_of(_arrays(tmp_path, x).likelihood) == "Mixed()"


def test_columns_with_missing_entries_are_standardized_by_those_that_are_there(tmp_path):
    x = 1e4 + 1e3 * RNG.standard_normal((300, 3))
    x[RNG.random(x.shape) < 0.3] = np.nan
    train = _arrays(tmp_path, x, standardize=True).train.x.double()
    torch.testing.assert_close(train.nanmean(0), torch.zeros(3).double(), atol=1e-6, rtol=0)
    square = train.square().nanmean(0)
    torch.testing.assert_close(square, torch.ones(3).double(), atol=1e-6, rtol=0)


def test_a_column_that_is_missing_throughout_is_named(tmp_path):
    x = RNG.standard_normal((40, 3))
    x[:, 2] = np.nan
    with pytest.raises(ValueError, match="nothing but NaN in column 2 of the training part"):
        _arrays(tmp_path, x)


@pytest.mark.parametrize("shape", [(400, 5), (400, 4, 5)])
def test_entries_of_own_arrays_are_hidden_at_random_and_the_others_stay(tmp_path, shape):
    x = RNG.standard_normal(shape)
    full, one, two, more = (_arrays(tmp_path, x, missing=m) for m in (0, 0.3, 0.3, 0.6))
    for part in ("train", "valid", "test"):
        whole, hidden = getattr(full, part).x, getattr(one, part).x.isnan()
        assert getattr(one, part).x[~hidden].equal(whole[~hidden])
        assert hidden.equal(getattr(two, part).x.isnan())
        assert getattr(more, part).x.isnan()[hidden].all()
        # the standard error of the fraction; 5 of these
        error = (0.3 * 0.7 / hidden.numel()) ** 0.5
        assert hidden.float().mean().item() == pytest.approx(0.3, abs=5 * error)
    assert isinstance(one.likelihood(one.x_shape), Mixed)
    assert "0.3 of all entries hidden" in one.description


@pytest.mark.parametrize("missing", [-0.1, 1, 5])
def test_a_share_to_hide_is_below_one(missing):
    with pytest.raises(ValueError, match=f"from 0 to below 1, but is {missing}"):
        datasets.arrays("x.npy", missing=missing)


@pytest.mark.parametrize("binarize", ["dynamic", "static", "threshold"])
def test_what_is_hidden_stays_hidden_when_the_rest_is_binarized(tmp_path, binarize):
    x = RNG.random((200, 6))
    x[::5, 2] = np.nan
    data = _arrays(tmp_path, x, binarize=binarize, missing=0.2)
    torch.manual_seed(0)
    (batch,) = next(data.train.batches(160))
    assert batch.isnan().equal(data.train.x.isnan())
    assert set(batch[~batch.isnan()].tolist()) == {0, 1}
    assert 0.15 < float(data.test.x.isnan().float().mean()) < 0.45
    likelihood = data.likelihood((6,))
    assert isinstance(likelihood, Mixed) and isinstance(likelihood.columns[0], Bernoulli)
    log_p = likelihood(torch.zeros(160, 6)).log_prob(batch)
    assert log_p.isfinite().all()


def test_all_parts_are_judged_together(tmp_path):
    dark = RNG.integers(0, 2, (5, 4, 4), np.uint8)
    light = RNG.integers(0, 256, (30, 4, 4), np.uint8)
    np.savez(tmp_path / "x.npz", x_train=light, x_test=dark)
    data = datasets.arrays(tmp_path / "x.npz")
    assert data.test.x.max().item() == pytest.approx(1 / 255)


@pytest.mark.parametrize(
    "shape, x_shape, words",
    [
        ((20, 8, 6, 3), (3, 8, 6), "the last dimension taken for the channels"),
        ((20, 8, 6, 4), (4, 8, 6), "the last dimension taken for the channels"),
        ((20, 8, 6, 1), (1, 8, 6), "the last dimension taken for the channels"),
        ((20, 3, 8, 4), (3, 8, 4), "(3, 8, 4) taken for (channels, height, width)"),
        ((20, 3, 8, 6), (3, 8, 6), ""),
        ((20, 5, 8, 6), (5, 8, 6), ""),
    ],
)
def test_channels_are_found_where_they_stand_and_named(tmp_path, shape, x_shape, words):
    data = _arrays(tmp_path, RNG.random(shape))
    assert data.x_shape == x_shape and words in data.description


@pytest.mark.parametrize(
    "shape, x_shape",
    [
        ((20, 784), (1, 28, 28)),
        ((20, 50, 8), (50, 8)),
        ((20, 8, 6), (8, 6)),
        ((20, 4, 4, 3), (3, 4, 4)),
        ((20, 1, 8, 6), (8, 6)),
    ],
)
def test_a_shape_that_is_given_is_that_of_a_datum(tmp_path, shape, x_shape):
    x = RNG.random(shape, np.float32)
    data = _arrays(tmp_path, x, x_shape=x_shape)
    expected = x.transpose(0, 3, 1, 2) if shape[1:] == (4, 4, 3) else x
    assert data.x_shape == x_shape
    np.testing.assert_array_equal(_rows(data), _sorted(expected.reshape(20, *x_shape)))


@pytest.mark.parametrize("x_shape", [(6, 8), (1, 8, 7), (3, 8, 2)])
def test_a_shape_that_would_mix_rows_and_columns_is_refused(tmp_path, x_shape):
    with pytest.raises(ValueError, match=r"items of shape \(8, 6\), which x_shape=.* does not fit"):
        _arrays(tmp_path, RNG.random((20, 8, 6)), x_shape=x_shape)


@pytest.mark.parametrize("x_shape", [(), (0, 3), 5, ("a",)])
def test_a_shape_is_a_tuple_of_sizes(x_shape):
    with pytest.raises(ValueError, match="x_shape must be a shape such as"):
        datasets.arrays("x.npy", x_shape=x_shape)


@pytest.mark.parametrize("kind", ["x.npy", "x.npz"])
def test_more_entries_than_memory_may_hold_are_named_before_they_are_read(tmp_path, kind):
    header = {"descr": "|u1", "fortran_order": False, "shape": (70_000, 70_000)}
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    if kind == "x.npz":
        import zipfile

        with zipfile.ZipFile(tmp_path / kind, "w") as archive:
            archive.write(tmp_path / "x.npy", "x.npy")
    with pytest.raises(ValueError, match=r"4,900,000,000 entries.* no more than 2,147,483,648"):
        datasets.arrays(tmp_path / kind)


def test_a_tensor_that_is_large_by_repetition_is_not_unrolled(tmp_path):
    torch.save(torch.zeros(1).expand(70_000, 70_000), tmp_path / "x.pt")
    with pytest.raises(ValueError, match="4,900,000,000 entries"):
        datasets.arrays(tmp_path / "x.pt")


def test_a_data_set_describes_itself_in_a_sentence(tmp_path):
    np.savez(tmp_path / "x.npz", x=RNG.integers(0, 256, (50, 4, 4), np.uint8), y=np.arange(50) % 2)
    assert datasets.arrays(tmp_path / "x.npz").description.startswith(
        "x: 40 + 5 + 5 items (train, valid, test) of shape (1, 4, 4); grey levels of 0 to 255, "
    )
    assert datasets.digits().description == (
        "digits: 1,297 + 200 + 300 items (train, valid, test) of shape (1, 8, 8); 10 classes; "
        "natural likelihood Bernoulli"
    )
