"""Users' own tables: headers, delimiters, missing cells, texts, and what is left out."""

import gzip

import numpy as np
import pytest
import torch

from pyro_vae import datasets

from .rows import X, Y, assert_same, in_order


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
    assert_same(data)
    assert data.x_shape == (4,) and "labels in column 'label'" in data.description


def test_a_table_without_a_header_is_data_throughout(tmp_path):
    data = datasets.arrays(_write(tmp_path / "t.csv", X))
    assert_same(data, y=None)
    assert "no labels; no header, columns by their places" in data.description


@pytest.mark.parametrize("y", [0, -5])
def test_a_column_of_a_table_without_a_header_goes_by_its_place(tmp_path, y):
    assert_same(datasets.arrays(_write(tmp_path / "t.csv", np.column_stack([Y + 1, X])), y=y))


def test_columns_may_be_parted_by_spaces(tmp_path):
    for name in ("t.csv", "t.txt"):
        np.savetxt(tmp_path / name, X)
        assert_same(datasets.arrays(tmp_path / name), y=None)
    (tmp_path / "aligned.txt").write_text(" a   b\n 1  -2\n-3 4.5\n 0   7\n")
    data = datasets.arrays(tmp_path / "aligned.txt")
    assert in_order(data)[0].tolist() == [[-3, 4.5], [0, 7], [1, -2]]
    assert "columns 'a', 'b'" in data.description


def test_a_header_of_numpy_and_a_packed_table_are_read(tmp_path):
    np.savetxt(tmp_path / "t.csv", X, delimiter=",", header="a,b,c,d")
    content = (tmp_path / "t.csv").read_bytes()
    assert content.startswith(b"# a,b")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(content))
    for name in ("t.csv", "t.csv.gz"):
        data = datasets.arrays(tmp_path / name)
        assert_same(data, y=None)
        assert data.name == "t" and "columns 'a', 'b', 'c', 'd'" in data.description


def test_columns_are_left_out_by_name_and_place(tmp_path):
    rows = [[f"id{i}", *x, "note", y] for i, (x, y) in enumerate(zip(X, Y, strict=True))]
    path = _write(tmp_path / "t.csv", rows, header="name,a,b,c,d,note,label")
    with pytest.raises(ValueError, match=r"texts in column 'name'.* without=\['name'\] to leave"):
        datasets.arrays(path)
    assert_same(datasets.arrays(path, without=["name", 5]))
    assert_same(datasets.arrays(path, without=["name", "note", "label"]), y=None)


def test_a_column_without_a_name_and_with_nothing_in_it_is_left_out(tmp_path):
    rows = [[*x, y, ""] for x, y in zip(X, Y, strict=True)]
    assert_same(datasets.arrays(_write(tmp_path / "t.csv", rows, header="a,b,c,d,label,")))


def test_texts_are_labels_if_their_column_is_named(tmp_path):
    rows = [[*x, ["setosa", "versicolor", "virginica"][y]] for x, y in zip(X, Y, strict=True)]
    path = _write(tmp_path / "iris.csv", rows, header="a,b,c,d,species")
    with pytest.raises(
        ValueError, match="texts in column 'species', such as 'setosa'.*y='species'"
    ):
        datasets.arrays(path)
    data = datasets.arrays(path, y="species")
    assert_same(data)
    assert "from the labels setosa, versicolor, virginica" in data.description
    assert_same(datasets.arrays(_write(path, rows), y=4))


@pytest.mark.parametrize("mark", ["", "NA", "nan", "NaN", "null", "?", " "])
def test_an_empty_cell_is_missing(tmp_path, mark):
    rows = [[*x, y] for x, y in zip(X.tolist(), Y.tolist(), strict=True)]
    rows[3][1] = rows[5][4] = mark
    data = datasets.arrays(_write(tmp_path / "t.csv", rows, header="a,b,c,d,y"))
    x, y = X.copy(), Y.copy()
    x[3, 1], y[5] = np.nan, -1
    assert_same(data, x, y)
    assert "1 entries missing (NaN)" in data.description
    assert "1 labels missing" in data.description


def test_row_numbers_and_numbered_names_of_pandas_are_no_data(tmp_path):
    rows = np.column_stack([np.arange(30), X])
    data = datasets.arrays(_write(tmp_path / "t.csv", rows, header=",0,1,2,3"))
    assert_same(data, y=None)
    assert "the first column of row numbers left out" in data.description
    assert_same(datasets.arrays(_write(tmp_path / "t.csv", X, header="0,1,2,3")), y=None)


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
    assert_same(datasets.arrays(path, x=["a", "c", 3], y="kind"), X[:, [0, 2, 3]])


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
    "decimal commas": (
        "a;b\n1,5;2\n2,5;3\n1;1\n",
        "texts in column 'a', such as '1,5'.*write decimal points",
    ),
    "one item": ("a,b\n1,2\n", "1 item, but a split needs 3"),
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
