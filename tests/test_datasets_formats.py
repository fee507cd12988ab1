"""Users' own files: archives, tables, other files of labels, and what is wrong with them."""

import gzip
import pickle

import numpy as np
import pytest
import torch

from pyro_vae import datasets

X = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
Y = np.arange(30) % 3


def _sorted(data):
    """All items and labels in the order of the first column."""
    parts = (data.train, data.valid, data.test)
    x = torch.cat([part.x for part in parts])
    order = x[:, 0].argsort()
    y = None if data.train.y is None else torch.cat([part.y for part in parts])[order].numpy()
    return x[order].numpy(), y


def _same(data, x=X, y=Y):
    found, labels = _sorted(data)
    order = x[:, 0].argsort()
    np.testing.assert_allclose(found, x[order], rtol=1e-6)
    assert y is None if labels is None else labels.tolist() == y[order].tolist()


@pytest.mark.parametrize(
    "names",
    [("x", "y"), ("X", "Y"), ("images", "labels"), ("data", "targets"), ("data", "label")],
)
@pytest.mark.parametrize("ending", ["npz", "pt", "pth", "NPZ"])
def test_data_and_labels_go_by_usual_names(tmp_path, names, ending):
    found, path = dict(zip(names, (X, Y), strict=True)), tmp_path / f"x.{ending}"
    if ending.lower() == "npz":
        with open(path, "wb") as file:
            np.savez(file, **found)
    else:
        torch.save({name: torch.from_numpy(array) for name, array in found.items()}, path)
    _same(datasets.arrays(path))


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("turned", [False, True])
def test_a_tuple_of_tensors_is_data_and_labels(tmp_path, kind, turned):
    pair = [torch.from_numpy(X), torch.from_numpy(Y)]
    torch.save(kind(pair[::-1] if turned else pair), tmp_path / "x.pt")
    _same(datasets.arrays(tmp_path / "x.pt"))


def test_arrays_without_names_are_data_and_labels(tmp_path):
    np.savez(tmp_path / "x.npz", X, Y)
    _same(datasets.arrays(tmp_path / "x.npz"))


@pytest.mark.parametrize(
    "found, sentence",
    [
        ([torch.zeros(3, 2)] * 2, r"without names of shapes \(3, 2\) and \(3, 2\)"),
        ([torch.zeros(3, 2)] * 20, "holds 0, 1, 2, .* and 10 more; expected one array"),
        ({"x": [1, 2]}, "x.pt, x is a list, but expected a tensor"),
        (3.5, "holds a float, but expected a tensor"),
        ({"a.weight": torch.zeros(3), "a.bias": torch.zeros(3)}, "holds a.weight, a.bias; exp"),
    ],
)
def test_tensors_that_are_no_data_are_refused(tmp_path, found, sentence):
    torch.save(found, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=sentence):
        datasets.arrays(tmp_path / "x.pt")


def test_a_sparse_tensor_is_filled_with_zeros(tmp_path):
    torch.save(torch.eye(12).to_sparse(), tmp_path / "x.pt")
    x, _ = _sorted(datasets.arrays(tmp_path / "x.pt"))
    assert x.sum() == 12 and x.shape == (12, 12)


@pytest.mark.parametrize(
    "names",
    [
        "x_train y_train x_val y_val x_test y_test",
        "X_train Y_train X_valid Y_valid X_test Y_test",
        "train_images train_labels val_images val_labels test_images test_labels",
        "xtrain ytrain xvalidation yvalidation xtest ytest",
        "train train_labels valid valid_labels test test_labels",
    ],
)
def test_parts_go_by_usual_names(tmp_path, names):
    arrays = [X[:20], Y[:20], X[20:24], Y[20:24], X[24:], Y[24:]]
    np.savez(tmp_path / "x.npz", **dict(zip(names.split(), arrays, strict=True)))
    data = datasets.arrays(tmp_path / "x.npz")
    for part, at in (("train", slice(20)), ("valid", slice(20, 24)), ("test", slice(24, None))):
        assert getattr(data, part).y.tolist() == Y[at].tolist()
        np.testing.assert_array_equal(getattr(data, part).x, X[at])


def test_names_that_are_given_choose_the_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", imgs2=X, other=X + 1, kind=Y)
    data = datasets.arrays(tmp_path / "a.npz", x="imgs2", y="kind")
    _same(data)
    assert "not used: other" in data.description
    np.savez(tmp_path / "b.npz", x_train=X, smile_train=Y, x_test=X, smile_test=Y)
    data = datasets.arrays(tmp_path / "b.npz", y="smile")
    assert data.test.y.tolist() == Y.tolist() and data.num_classes == 3


def test_what_is_not_used_is_named_and_not_read(tmp_path):
    objects = np.array([{}, None], dtype=object)
    np.savez(tmp_path / "x.npz", x=X, y=Y, metadata=objects, smile=Y)
    data = datasets.arrays(tmp_path / "x.npz")
    _same(data)
    assert "not used: metadata, smile" in data.description


def test_names_that_are_not_there_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    with pytest.raises(ValueError, match="has no labels 'z'; it holds x, y"):
        datasets.arrays(tmp_path / "x.npz", y="z")
    with pytest.raises(ValueError, match="holds x, y; expected one array"):
        datasets.arrays(tmp_path / "x.npz", x="z")
    with pytest.raises(ValueError, match="choose columns of a table, but .* is an archive"):
        datasets.arrays(tmp_path / "x.npz", x=["x"])


@pytest.mark.parametrize("kind", ["y.npy", "y.npz", "y.pt", "y.csv"])
def test_labels_may_lie_in_another_file(tmp_path, kind):
    np.save(tmp_path / "x.npy", X)
    path = tmp_path / kind
    if kind.endswith("npy"):
        np.save(path, Y)
    elif kind.endswith("npz"):
        np.savez(path, labels=Y, names=X)
    elif kind.endswith("pt"):
        torch.save(torch.from_numpy(Y), path)
    else:
        path.write_text("kind\n" + "".join(f"{'abc'[y]}\n" for y in Y))
    data = datasets.arrays(tmp_path / "x.npy", y=str(path))
    _same(data)
    assert f"labels from {path}" in data.description


def test_labels_of_another_file_have_the_length_of_the_data(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y[1:])
    with pytest.raises(ValueError, match=r"labels of shape \(29,\), but expected \(30,\)"):
        datasets.arrays(tmp_path / "x.npy", y=str(tmp_path / "y.npy"))
    np.savez(tmp_path / "parts.npz", x_train=X, x_test=X)
    with pytest.raises(ValueError, match="has parts, which the one file of labels"):
        datasets.arrays(tmp_path / "parts.npz", y=str(tmp_path / "y.npy"))


def _write(path, rows, delimiter=",", header=None, end="\n"):
    lines = [header] if header is not None else []
    lines += [delimiter.join(map(str, row)) for row in rows]
    path.write_text(end.join(lines) + end)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_with_a_header_is_read(tmp_path, delimiter, end):
    rows = np.column_stack([X, Y])
    header = delimiter.join(["a", "b", "c", "d", "label"])
    data = datasets.arrays(_write(tmp_path / "t.csv", rows, delimiter, header, end))
    _same(data)
    assert data.x_shape == (4,) and "labels in column 'label'" in data.description


def test_a_table_without_a_header_is_data_throughout(tmp_path):
    data = datasets.arrays(_write(tmp_path / "t.csv", X))
    _same(data, y=None)
    assert "no header, so all 4 columns are data" in data.description


@pytest.mark.parametrize("y", [0, -5])
def test_a_column_of_a_table_without_a_header_goes_by_its_place(tmp_path, y):
    _same(datasets.arrays(_write(tmp_path / "t.csv", np.column_stack([Y + 1, X])), y=y))


def test_texts_are_labels_if_their_column_is_named(tmp_path):
    rows = [[*x, ["setosa", "versicolor", "virginica"][y]] for x, y in zip(X, Y, strict=True)]
    path = _write(tmp_path / "iris.csv", rows, header="a,b,c,d,species")
    with pytest.raises(
        ValueError, match="texts in column 'species', such as 'setosa'.*y='species'"
    ):
        datasets.arrays(path)
    data = datasets.arrays(path, y="species")
    _same(data)
    assert "from the labels setosa, versicolor, virginica" in data.description
    _same(datasets.arrays(_write(path, rows), y=4))


@pytest.mark.parametrize("mark", ["", "NA", "nan", "NaN", "null", "?", " "])
def test_an_empty_cell_is_missing(tmp_path, mark):
    rows = [[*x, y] for x, y in zip(X.tolist(), Y.tolist(), strict=True)]
    rows[3][1] = rows[5][4] = mark
    data = datasets.arrays(_write(tmp_path / "t.csv", rows, header="a,b,c,d,y"))
    x, y = X.copy(), Y.copy()
    x[3, 1], y[5] = np.nan, -1
    _same(data, x, y)
    assert "1 entries missing (NaN)" in data.description
    assert "1 labels missing" in data.description


def test_row_numbers_and_numbered_names_of_pandas_are_no_data(tmp_path):
    rows = np.column_stack([np.arange(30), X])
    data = datasets.arrays(_write(tmp_path / "t.csv", rows, header=",0,1,2,3"))
    _same(data, y=None)
    assert "the first column of row numbers left out" in data.description
    _same(datasets.arrays(_write(tmp_path / "t.csv", X, header="0,1,2,3")), y=None)


def test_the_pixels_of_a_table_are_grey_levels(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (30, 9))
    x[0, :2] = 0, 255
    header = "label," + ",".join(f"pixel{i}" for i in range(9))
    path = _write(tmp_path / "digits.csv", np.column_stack([Y, x]), header=header)
    data = datasets.arrays(path, x_shape=(1, 3, 3))
    assert data.x_shape == (1, 3, 3) and data.num_classes == 3
    found = torch.cat([data.train.x, data.valid.x, data.test.x]).mul(255).round().long()
    np.testing.assert_array_equal(np.sort(found.flatten()), np.sort(x.ravel()))


def test_columns_are_chosen_by_name_and_place(tmp_path):
    path = _write(tmp_path / "t.csv", np.column_stack([X, Y]), header="a,b,c,d,kind")
    _same(datasets.arrays(path, x=["a", "c", 3], y="kind"), X[:, [0, 2, 3]])


@pytest.mark.parametrize("quoted", ['"a, b",c', '\ufeff"x",y2'])
def test_quoted_names_and_a_mark_of_utf8_are_read(tmp_path, quoted):
    path = tmp_path / "t.csv"
    path.write_text(quoted + "\n" + "".join(f'"{i / 30}",{i / 9}\n' for i in range(30)))
    assert datasets.arrays(path).x_shape == (2,)


TABLES = {
    "a row short": ("a,b\n1,2\n3\n", "1 cells in line 3, but 2 in the first"),
    "a row long": ("1,2\n1,2,3\n", "3 cells in line 2, but 2 in the first"),
    "a header alone": ("a,b\n", "a header but no items"),
    "names twice": ("a,a\n1,2\n3,4\n5,6\n", "two columns 'a'"),
    "labels alone": ("y\n1\n2\n3\n", "no columns of data besides the labels"),
    "two labels": ("y,label,a\n1,2,3\n", "columns 'y' and 'label', either of which"),
    "decimal commas": ("a;b\n1,5;2\n2,5;3\n1;1\n", "texts in column 'a', such as '1,5'"),
    "one item": ("a,b\n1,2\n", "1 items, but a split needs 3"),
    "infinite": ("a,b\n1,2\ninf,1\n1,1\n", "1 infinite values, the first in item 1"),
}


@pytest.mark.parametrize("content, sentence", TABLES.values(), ids=TABLES)
def test_a_table_that_is_none_is_named(tmp_path, content, sentence):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=f"t.csv has {sentence}"):
        datasets.arrays(tmp_path / "t.csv")


def test_a_column_that_is_not_there_is_named(tmp_path):
    path = _write(tmp_path / "t.csv", X, header="a,b,c,d")
    for wanted in ({"y": "kind"}, {"x": ["kind"]}, {"y": 4}):
        with pytest.raises(
            ValueError, match="has no column .*; its columns are 'a', 'b', 'c', 'd'"
        ):
            datasets.arrays(path, **wanted)


OTHERS = {
    "a picture": ("x.npy", b"\x89PNG\r\n\x1a\n" + bytes(40), "a PNG picture"),
    "an archive": ("x.npy", b"PK\x03\x04" + bytes(40), "a zip archive"),
    "an array": ("x.npz", b"\x93NUMPY\x01\0" + bytes(40), "an .npy file"),
    "HDF5": ("x.npy", b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file"),
    "a web page": ("x.npz", b"<!DOCTYPE html><html>", "a web page"),
    "a pointer": ("x.npz", b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
    "gzip": ("x.csv", gzip.compress(b"1,2\n"), "a gzip file"),
    "UTF-16": ("x.csv", "a,b\n1,2\n".encode("utf-16"), "a text in UTF-16"),
}


@pytest.mark.parametrize("name, content, kind", OTHERS.values(), ids=OTHERS)
def test_a_file_that_is_something_else_than_its_ending_says_is_named(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} cannot be read: by its content it is {kind}"):
        datasets.arrays(tmp_path / name)


def test_archives_under_each_others_names_are_named(tmp_path):
    torch.save(torch.zeros(9, 2), tmp_path / "x.npz")
    with pytest.raises(ValueError, match="by its content it is a .pt file"):
        datasets.arrays(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", x=X)
    (tmp_path / "y.npz").rename(tmp_path / "y.pt")
    with pytest.raises(ValueError, match="y.pt cannot be read"):
        datasets.arrays(tmp_path / "y.pt")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pt"])
def test_a_pickle_runs_nothing(tmp_path, name):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it ran",))

    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        datasets.arrays(tmp_path / name)


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ValueError, match="x.npy cannot be read: you have no permission"):
        datasets.arrays(tmp_path / "x.npy")


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", X)
    assert datasets.arrays("~/x.npy").name == "x"
