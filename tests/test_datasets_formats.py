"""Users' own files: archives, other files of labels, and what is wrong with them."""

import gzip
import pickle

import numpy as np
import pytest
import torch

from pyro_vae import datasets

from .rows import X, Y, assert_same, in_order


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
    assert_same(datasets.arrays(path))


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("turned", [False, True])
def test_a_tuple_of_tensors_is_data_and_labels(tmp_path, kind, turned):
    pair = [torch.from_numpy(X), torch.from_numpy(Y)]
    torch.save(kind(pair[::-1] if turned else pair), tmp_path / "x.pt")
    assert_same(datasets.arrays(tmp_path / "x.pt"))


def test_arrays_without_names_are_data_and_labels(tmp_path):
    np.savez(tmp_path / "x.npz", X, Y)
    assert_same(datasets.arrays(tmp_path / "x.npz"))


@pytest.mark.parametrize(
    "found, sentence",
    [
        ([torch.zeros(3, 2)] * 2, r"without names of shapes \(3, 2\) and \(3, 2\)"),
        ([torch.zeros(3, 2)] * 20, "holds a list of 20 tensors, but expected a tensor"),
        ([(torch.zeros(3), 1)] * 20, "holds a list of 20 tuples, but expected a tensor"),
        ({"x": [1, 2]}, "x.pt, x is a list, but expected a tensor"),
        (3.5, "holds a float, but expected a tensor"),
        ({"a.weight": torch.zeros(3), "a.bias": torch.zeros(3)}, "holds a.weight, a.bias; exp"),
    ],
)
def test_tensors_that_are_no_data_are_refused(tmp_path, found, sentence):
    torch.save(found, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=sentence):
        datasets.arrays(tmp_path / "x.pt")


def test_a_class_of_torch_in_a_file_is_told_from_damage(tmp_path):
    torch.save(torch.utils.data.TensorDataset(torch.zeros(9, 2)), tmp_path / "x.pt")
    with pytest.raises(
        ValueError, match="x.pt holds pickled objects, which are never read, but exp"
    ):
        datasets.arrays(tmp_path / "x.pt")


def test_a_dictionary_of_parts_holds_data_and_labels(tmp_path):
    part = {"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}
    torch.save({"train": part, "valid": part, "test": part}, tmp_path / "x.pt")
    data = datasets.arrays(tmp_path / "x.pt")
    np.testing.assert_array_equal(data.test.x, X)
    assert data.valid.y.tolist() == Y.tolist()


def test_a_sparse_tensor_is_filled_with_zeros(tmp_path):
    torch.save(torch.eye(12).to_sparse(), tmp_path / "x.pt")
    x, _ = in_order(datasets.arrays(tmp_path / "x.pt"))
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
    assert_same(data)
    assert "not used: other" in data.description
    np.savez(tmp_path / "b.npz", x_train=X, smile_train=Y, x_test=X, smile_test=Y)
    data = datasets.arrays(tmp_path / "b.npz", y="smile")
    assert data.test.y.tolist() == Y.tolist() and data.num_classes == 3


def test_the_only_array_beside_the_labels_is_the_data(tmp_path):
    np.savez(tmp_path / "x.npz", spectra=X, y=Y)
    assert_same(datasets.arrays(tmp_path / "x.npz"))


def test_what_is_not_used_is_named_and_not_read(tmp_path):
    objects = np.array([{}, None], dtype=object)
    np.savez(tmp_path / "x.npz", x=X, y=Y, metadata=objects, smile=Y)
    data = datasets.arrays(tmp_path / "x.npz")
    assert_same(data)
    assert "not used: metadata, smile" in data.description


def test_names_that_are_not_there_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    with pytest.raises(ValueError, match="has no labels 'z'; it holds x, y"):
        datasets.arrays(tmp_path / "x.npz", y="z")
    with pytest.raises(ValueError, match="holds x, y; expected one array"):
        datasets.arrays(tmp_path / "x.npz", x="z")
    with pytest.raises(ValueError, match="choose columns of a table, but .* is none"):
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
    assert_same(data)
    assert f"labels from {path}" in data.description


def test_labels_of_another_file_have_the_length_of_the_data(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y[1:])
    with pytest.raises(ValueError, match=r"labels of shape \(29,\), but expected \(30,\)"):
        datasets.arrays(tmp_path / "x.npy", y=str(tmp_path / "y.npy"))
    np.savez(tmp_path / "parts.npz", x_train=X, x_test=X)
    with pytest.raises(ValueError, match="has parts, which the one file of labels"):
        datasets.arrays(tmp_path / "parts.npz", y=str(tmp_path / "y.npy"))


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


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"scale": "a"}, "scale must be a positive number, but is 'a'"),
        ({"missing": None}, "missing must be a fraction from 0 to below 1, but is None"),
        ({"labels": 2.5}, "labels must be a whole number, but is 2.5"),
        ({"standardize": "yes"}, "standardize must be True or False, but is 'yes'"),
    ],
)
def test_an_argument_of_another_type_is_named(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        datasets.arrays("x.npy", **wrong)


def test_pictures_and_folders_are_sent_to_their_function(tmp_path):
    with pytest.raises(ValueError, match=r"ends in '.png'.* folder\(\) reads pictures"):
        datasets.arrays(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"is a folder.* folder\(\) reads pictures"):
        datasets.arrays(tmp_path)
    with pytest.raises(ValueError, match="path must be the path of a file, in quotes, but is 5"):
        datasets.arrays(5)


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", X)
    assert datasets.arrays("~/x.npy").name == "x"
