"""Photographs and tables, read from small files of the same layout as the real ones."""

import numpy as np
import pytest
import torch

from pyro_vae import datasets
from pyro_vae.likelihoods import Mixed, Nominal, Normal, Ordinal, Poisson


def _bytes(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def _write_cifar(data_dir, *, items=20):
    home = data_dir / "cifar-10-batches-bin"
    home.mkdir()
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    images, labels = _bytes(6, items, 3, 32, 32), _bytes(6, items) % 10
    for name, x, y in zip(names, images, labels, strict=True):
        (home / name).write_bytes(np.hstack([y[:, None], x.reshape(items, -1)]).tobytes())
    return images, labels


def _write(data_dir, name, **found):
    (data_dir / name).mkdir(exist_ok=True)
    np.savez(data_dir / name / f"{name}.npz", **found)


def _write_subset(data_dir, **found):
    parts = {"x_train": _bytes(30, 32, 32, 3), "y_train": np.arange(30, dtype=np.uint8) % 10}
    parts |= {"x_test": _bytes(5, 32, 32, 3, seed=1), "y_test": np.arange(5, dtype=np.uint8)}
    _write(data_dir, "cifar10_subset", **parts | {"class_names": np.array(["a"] * 10)} | found)
    return parts


def _sorted(x):
    return x[np.lexsort(x.T)]


def test_the_binary_version_of_cifar10_has_labels_before_channels(tmp_path):
    images, labels = _write_cifar(tmp_path)
    data = datasets.cifar10(tmp_path)
    assert [len(data.train), len(data.valid), len(data.test)] == [90, 10, 20]
    assert data.x_shape == (3, 32, 32) and data.num_classes == 10
    np.testing.assert_allclose(data.test.x * 255, images[5], atol=1e-4)
    assert data.test.y.tolist() == labels[5].tolist()
    found = torch.cat([data.train.x, data.valid.x]).flatten(1)
    expected = images[:5].reshape(100, -1)
    np.testing.assert_allclose(_sorted((found * 255).round().numpy()), _sorted(expected))


def test_a_subset_of_cifar10_is_read_where_the_whole_is_not(tmp_path):
    parts = _write_subset(tmp_path)
    data = datasets.cifar10(tmp_path)
    assert [len(data.train), len(data.valid), len(data.test)] == [27, 3, 5]
    np.testing.assert_allclose(data.test.x * 255, np.moveaxis(parts["x_test"], 3, 1), atol=1e-4)
    _write_cifar(tmp_path)
    assert len(datasets.cifar10(tmp_path).test) == 20


def test_missing_cifar10_names_both_places(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither cifar-10-batches-bin nor cifar10_subset"):
        datasets.cifar10(tmp_path)


def test_a_damaged_file_of_records_is_named(tmp_path):
    _write_cifar(tmp_path)
    file = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="data_batch_3.bin cannot be read"):
        datasets.cifar10(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="there is no file .*data_batch_3.bin"):
        datasets.cifar10(tmp_path)


def test_lfw_faces_are_labelled_by_their_smile(tmp_path):
    x, smile = _bytes(20, 64, 64), np.arange(20, dtype=np.uint8) % 2
    x[:, 0, 0] = smile * 255
    parts = {"x_train": x, "smile_train": smile, "x_test": x, "smile_test": smile}
    _write(tmp_path, "lfw_faces64", **parts, file_test=np.array(["name"] * 20))
    data = datasets.lfw_faces(tmp_path)
    assert [len(data.train), len(data.valid), len(data.test)] == [18, 2, 20]
    assert data.x_shape == (1, 64, 64) and data.num_classes == 2
    assert data.train.x[:, 0, 0, 0].equal(data.train.y.float())


def test_frey_faces_are_cut_by_one_permutation(tmp_path):
    images = _bytes(430, 28, 20)
    _write(tmp_path, "frey_faces", images=images)
    data = datasets.frey_faces(tmp_path)
    assert [len(data.train), len(data.valid), len(data.test)] == [30, 200, 200]
    assert data.x_shape == (1, 28, 20) and data.y_shape is None
    found = torch.cat([data.train.x, data.valid.x, data.test.x]).flatten(1)
    expected = images.reshape(430, -1)
    np.testing.assert_allclose(_sorted((found * 255).round().numpy()), _sorted(expected))
    assert datasets.frey_faces(tmp_path).test.x.equal(data.test.x)


def test_archives_that_lack_something_say_what(tmp_path):
    _write(tmp_path, "lfw_faces64", x_train=_bytes(9, 64, 64), x_test=_bytes(9, 64, 64))
    with pytest.raises(ValueError, match="has no smile_train, smile_test, but x_train, x_test"):
        datasets.lfw_faces(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="put there an archive of images, or name another data_dir"
    ):
        datasets.frey_faces(tmp_path)
    _write(tmp_path, "frey_faces", images=_bytes(400, 28, 20))
    with pytest.raises(ValueError, match="has 400 images, but expected 1965"):
        datasets.frey_faces(tmp_path)


WIDTHS = {"letter": 16, "spam": 57}
CLASSES = {1: 7, 3: 16, 4: 7, 5: 14, 6: 6, 7: 5, 8: 2}
POSITIVE = [2, 9, 10]
COUNTS = [0, 11]


def _write_table(data_dir, name, table, *, header=True):
    (data_dir / "uci").mkdir(exist_ok=True)
    head = ",".join(f"column {i}" for i in range(table.shape[1])) if header else ""
    path = data_dir / "uci" / f"{name}.csv"
    np.savetxt(path, table, delimiter=",", header=head, comments="", fmt="%.10g")
    return path


def _real_table(name, items=200):
    rng = np.random.default_rng(0)
    return rng.normal(5, np.linspace(1, 9, WIDTHS[name]), (items, WIDTHS[name]))


def _adult_table(items=200):
    rng = np.random.default_rng(0)
    table = np.zeros((items, 12))
    for j, num_classes in CLASSES.items():
        table[:, j] = 1 + rng.permutation(items) % num_classes
    table[:, COUNTS] = rng.integers(1, 99, (items, 2))
    table[:, POSITIVE] = rng.exponential(1000, (items, 3)).round()
    table[:, 2] = 10 + rng.permutation(items)  # tells the rows apart
    table[:50, 9:11] = 0
    table[7, 1] = table[9, 5] = np.nan
    return table


def _rows(data):
    return torch.cat([data.train.x, data.valid.x, data.test.x]).double().numpy()


@pytest.mark.parametrize("name", WIDTHS)
def test_real_columns_are_standardized_by_the_training_part(tmp_path, name):
    table = _real_table(name)
    _write_table(tmp_path, name, table)
    data = getattr(datasets, name)(tmp_path)
    assert [len(data.train), len(data.valid), len(data.test)] == [160, 20, 20]
    assert data.train.x.dtype == torch.float32 and data.x_shape == (WIDTHS[name],)
    # float32 keeps each of 160 numbers of size 3 to 2e-7
    np.testing.assert_allclose(data.train.x.double().mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.x.double().std(0, correction=0), 1, atol=1e-6)
    assert data.test.x.mean(0).abs().max() > 0.05  # its own mean is another
    # undone by the least squares fit of each column, the rows are those of the file
    found, order, sought = _rows(data), np.argsort(_rows(data)[:, 0]), np.argsort(table[:, 0])
    for j in range(WIDTHS[name]):
        slope, offset = np.polyfit(found[order, j], table[sought, j], 1)
        np.testing.assert_allclose(slope * found[order, j] + offset, table[sought, j], atol=1e-4)


def test_adult_keeps_counts_shifts_classes_and_takes_logarithms(tmp_path):
    table = _adult_table()
    _write_table(tmp_path, "adult_data", table, header=False)
    data = datasets.adult(tmp_path)
    assert [len(data.train), len(data.valid), len(data.test)] == [160, 20, 20]
    found, expected = _rows(data), table[np.argsort(table[:, 2])]
    log, log_expected = np.log(found[:, POSITIVE]), np.log1p(expected[:, POSITIVE])
    # float32 keeps exp(3) to 1e-6 and its logarithm to 1e-7
    np.testing.assert_allclose(log[:160].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(log[:160].std(0), 1, atol=1e-6)
    order = np.argsort(found[:, 2])
    np.testing.assert_array_equal(found[order][:, COUNTS], expected[:, COUNTS])
    np.testing.assert_array_equal(found[order][:, list(CLASSES)], expected[:, list(CLASSES)] - 1)
    for column, column_expected in zip(log[order].T, log_expected.T, strict=True):
        slope, offset = np.polyfit(column, column_expected, 1)
        np.testing.assert_allclose(slope * column + offset, column_expected, atol=1e-5)


def test_adult_has_a_likelihood_for_each_kind_of_column(tmp_path):
    _write_table(tmp_path, "adult_data", _adult_table(), header=False)
    data = datasets.adult(tmp_path, missing=0.3)
    likelihood = data.likelihood(data.x_shape)
    assert isinstance(likelihood, Mixed)
    kinds = [type(column) for column in likelihood.columns]
    assert [j for j, kind in enumerate(kinds) if kind is Poisson] == COUNTS
    assert [j for j, kind in enumerate(kinds) if kind in (Nominal, Ordinal)] == list(CLASSES)
    assert kinds[3] is Ordinal
    h = torch.zeros(len(data.train), *likelihood.param_shape)
    # h = 0: each class is as probable as another, and the support of all columns is checked
    assert likelihood(h).log_prob(data.train.x).isfinite().all()
    x = torch.full((12,), torch.nan)
    for j, num_classes in CLASSES.items():
        one = x.clone()
        one[j] = num_classes - 1
        log_p = likelihood(h[0]).log_prob(one).item()
        assert log_p == pytest.approx(-np.log(num_classes), abs=1e-5)


def test_two_models_of_one_table_share_no_parameters(tmp_path):
    _write_table(tmp_path, "adult_data", _adult_table(), header=False)
    data = datasets.adult(tmp_path)
    one, two = (list(data.likelihood(data.x_shape).parameters()) for _ in range(2))
    assert one and not {id(p) for p in one} & {id(p) for p in two}


def test_hidden_entries_are_hidden_at_random_and_the_others_stay(tmp_path):
    _write_table(tmp_path, "letter", _real_table("letter", 2000))
    full, one, two, more = (datasets.letter(tmp_path, missing=m) for m in (0, 0.3, 0.3, 0.6))
    for part in ("train", "valid", "test"):
        x, hidden = getattr(full, part).x, getattr(one, part).x.isnan()
        assert x.isfinite().all() and getattr(one, part).x[~hidden].equal(x[~hidden])
        assert hidden.equal(getattr(two, part).x.isnan())
        assert getattr(more, part).x.isnan()[hidden].all()
        # the standard error of the fraction; 5 of these
        error = (0.3 * 0.7 / hidden.numel()) ** 0.5
        assert hidden.float().mean().item() == pytest.approx(0.3, abs=5 * error)
    assert not one.valid.x.isnan().equal(one.test.x.isnan())


def test_what_is_missing_in_a_table_is_left_out_of_its_likelihood(tmp_path):
    _write_table(tmp_path, "spam", _real_table("spam"))
    data = datasets.spam(tmp_path, missing=0.5)
    likelihood = data.likelihood(data.x_shape)
    assert all(isinstance(column, Normal) for column in likelihood.columns)
    x = data.test.x
    found = likelihood(torch.zeros(len(x), *likelihood.param_shape)).log_prob(x)
    # N(0, 1) of what is there
    expected = (-0.5 * x.nan_to_num() ** 2 - 0.5 * np.log(2 * np.pi)) * x.isfinite()
    torch.testing.assert_close(found, expected.sum(-1), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("missing", [-0.1, 1, float("nan")])
def test_a_fraction_is_below_one(tmp_path, missing):
    _write_table(tmp_path, "letter", _real_table("letter"))
    with pytest.raises(ValueError, match=f"from 0 to below 1, but is {missing}"):
        datasets.letter(tmp_path, missing=missing)


@pytest.mark.parametrize("value, column", [(0, "workclass"), (8, "workclass"), (1.5, "workclass")])
def test_a_class_that_there_is_not_is_named(tmp_path, value, column):
    table = _adult_table()
    table[3, 1] = value
    _write_table(tmp_path, "adult_data", table, header=False)
    with pytest.raises(ValueError, match=f"{column} has a class that is not one of 1, ..., 7"):
        datasets.adult(tmp_path)


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("", "letter.csv is empty"),
        ("a,b\n", "letter.csv cannot be read"),
        ("a,b\n1,x\n", "letter.csv cannot be read"),
        ("a,b\n1,2\n1\n", "letter.csv cannot be read"),
        ("a,b\n1,2\n", r"has shape \(1, 2\).* expected \(items, 16\)"),
        ("a\n" + ",".join(["inf"] * 16) + "\n", "or infinite values"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, content, sentence):
    (tmp_path / "uci").mkdir()
    (tmp_path / "uci" / "letter.csv").write_text(content)
    with pytest.raises(ValueError, match=sentence):
        datasets.letter(tmp_path)


@pytest.mark.parametrize("name", ["letter", "spam", "adult"])
def test_a_missing_table_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=f"there is no file .*{name}.*csv; put there"):
        getattr(datasets, name)(tmp_path)
