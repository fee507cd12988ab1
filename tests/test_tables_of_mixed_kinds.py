"""A user's table of columns of different kinds: read, trained on, and its empty cells filled in."""

import csv

import numpy as np
import pytest
import torch

from pyro_vae.app.run import Run
from pyro_vae.datasets import table
from pyro_vae.datasets.table_format import TableFormat
from pyro_vae.likelihoods import LogNormal, Mixed, Nominal, Normal, Ordinal

NAMES = ["id", "age", "city", "income", "kids", "owner"]


def rows(num=60):
    random = np.random.default_rng(0)
    cities = ["Bern", "Köln", "Oslo"]
    return [
        [
            f"p{i}",
            str(random.integers(18, 80)),
            cities[i % 3],
            f"{random.lognormal(10, 0.5):.2f}",
            str(random.poisson(1.5)),
            "true" if i % 4 else "false",
        ]
        for i in range(num)
    ]


def write(path, cells, names=NAMES):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([names, *cells] if names else cells)
    return path


def with_holes(cells):
    """Every third row lacks one cell, in turn from the second column on."""
    cells = [list(row) for row in cells]
    for i in range(0, len(cells), 3):
        cells[i][1 + i // 3 % 5] = ""
    return cells


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "my.csv", with_holes(rows()))


def all_rows(data):
    return torch.cat([part.x for part in (data.train, data.valid, data.test)])


def test_kinds_are_guessed_and_said(path):
    data = table(path, without="id")
    assert data.x_shape == (5,) and all_rows(data).isnan().sum() == 20
    kinds = "'age' (Normal), 'city' (Nominal, 3 classes), 'income' (Normal), 'kids' (Poisson), "
    assert kinds + "'owner' (Nominal, 2 classes); 20 cells are empty" in data.description
    assert isinstance(data.likelihood(data.x_shape), Mixed)


def test_kinds_are_given(path):
    kinds = {"income": LogNormal, "kids": Ordinal, "age": Normal}
    data = table(path, without=["id"], kinds=kinds)
    assert "'income' (LogNormal)" in data.description and "'kids' (Ordinal" in data.description
    x = data.train.x
    logs = x[:, 2].log()[~x[:, 2].isnan()]
    assert abs(logs.mean()) < 1e-5 and abs(logs.std(correction=0) - 1) < 1e-5


def test_real_columns_are_standardized_by_the_training_part(path):
    age = table(path, without="id").train.x[:, 0]
    age = age[~age.isnan()]
    assert abs(age.mean()) < 1e-5 and abs(age.std(correction=0) - 1) < 1e-5


@pytest.mark.parametrize("kinds", [{}, {"income": LogNormal, "kids": Ordinal}])
def test_cells_become_numbers_and_these_the_cells_again(tmp_path, kinds):
    path = write(tmp_path / "my.csv", rows())
    data = table(path, without="id", kinds=kinds)
    found = list(zip(*data.table.cells(all_rows(data)), strict=True))
    expected = [[age, city, float(income), kids] for _, age, city, income, kids, _ in rows()]
    found = [[age, city, float(income), kids] for age, city, income, kids, _ in found]
    for row in found:  # %g keeps six digits of an income
        assert any(r[:2] + r[3:] == row[:2] + row[3:] and abs(r[2] - row[2]) < 1 for r in expected)


def test_what_columns_are_is_saved_and_read_again(path, tmp_path):
    import json

    found = table(path, without="id").table
    (tmp_path / "columns.json").write_text(json.dumps(found.as_json()))
    assert TableFormat.load(tmp_path / "columns.json") == found


def test_the_text_of_the_likelihood_builds_the_same(path):
    from pyro_vae.app.text import read_likelihood, text_of

    data = table(path, without="id", kinds={"income": LogNormal})
    text = text_of(data.likelihood)
    one, other = data.likelihood((5,)), read_likelihood(text)((5,))
    h = torch.randn(7, *one.param_shape)
    x = data.train.x[:7]
    torch.testing.assert_close(one(h).log_prob(x), other(h).log_prob(x))


def test_entries_may_be_hidden_to_judge_by(path):
    whole, hidden = table(path, without="id"), table(path, without="id", missing=0.5)
    seen = ~hidden.train.x.isnan()
    assert (
        torch.equal(whole.train.x[seen], hidden.train.x[seen]) and 0.3 < seen.float().mean() < 0.7
    )


def without_a(cells, name):
    place = NAMES.index(name)
    return [[*row[:place], "", *row[place + 1 :]] for row in cells]


def with_cell(cells, row, name, text):
    cells = [list(each) for each in cells]
    cells[row][NAMES.index(name)] = text
    return cells


BAD = {
    "a ragged row": (lambda c: [*c[:3], c[3][:-1], *c[4:]], "5 cells in line 5, but 6 in"),
    "an empty column": (lambda c: without_a(c, "age"), "has nothing in column 'age'"),
    "text among numbers": (
        lambda c: with_cell(c, 7, "age", "old"),
        "text 'old' among the numbers of column 'age'; write a number",
    ),
    "one value alone": (
        lambda c: [[*row[:4], "3", row[5]] for row in c],
        r"'3.0' alone in column 'kids', of which nothing is to be",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change, sentence", BAD.values(), ids=BAD)
def test_a_table_that_is_none_is_named(tmp_path, change, sentence):
    path = write(tmp_path / "bad.csv", change(rows()))
    with pytest.raises(ValueError, match=sentence):
        table(path, without="id")


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"without": "name"}, "no column 'name', of which without speaks"),
        ({"kinds": {"height": Normal}}, "no column 'height', of which kinds speaks"),
        ({"kinds": {"age": "real"}}, "kind of column 'age' is 'real', but must be a class of"),
        ({"kinds": {"city": Normal}}, "the text 'Bern' in column 'city', item 1, but expected"),
        ({"missing": 1.0}, "missing must be a fraction"),
    ],
)
def test_other_wishes_are_refused(path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        table(path, **{"without": "id", **options})


def test_texts_that_are_all_different_are_no_classes(tmp_path):
    path = write(tmp_path / "my.csv", rows(150))
    with pytest.raises(ValueError, match=r"150 different cells in column 'id'.*without=\['id'\]"):
        table(path)


def test_zeros_are_not_of_a_log_normal(tmp_path):
    path = write(tmp_path / "my.csv", rows())
    with pytest.raises(ValueError, match="has 0 in column 'kids', whose LogNormal takes positive"):
        table(path, without="id", kinds={"kids": LogNormal})


def test_an_array_is_no_table(tmp_path):
    with pytest.raises(ValueError, match="is no table; give a .csv"):
        table(tmp_path / "x.npy")


# The command.

TRAIN = ["train", "VAE(latent_dim=2, hidden=(8,), encoder=ZeroImputed)", "--epochs", 1]


@pytest.fixture(scope="module")
def a_table_run(command, tmp_path_factory):
    """A folder with a table and a training on it."""
    folder = tmp_path_factory.mktemp("table")
    path = write(folder / "my.csv", with_holes(rows()))
    data = f"table({str(path)!r}, without='id', kinds={{'income': LogNormal}})"
    assert command(*TRAIN, "--data", data, "--loss", "IWAE(5)", "--out", folder / "run") == 0
    return folder


def read(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_a_table_is_filled_in_and_its_other_cells_stay(a_table_run, run):
    code, out, err = run(
        "impute", a_table_run / "run", "--data", a_table_run / "my.csv", "--out", "filled.csv",
        "--num-imputations", 2, "--num-particles", 50,
    )  # fmt: skip
    assert code == 0 and "20 of 60 items had missing entries" in out, err
    assert "effective sample size" in out and out.splitlines()[-1] == "filled-2.csv"
    before = read(a_table_run / "my.csv")
    for name in ("filled.csv", "filled-1.csv", "filled-2.csv"):
        after = read(name)
        for one, other in zip(before, after, strict=True):
            assert all(a == b or not a for a, b in zip(one, other, strict=True))
            assert all(other) and other[5] in ("true", "false", "owner")
            assert other[2] in ("Bern", "Köln", "Oslo", "city")
        assert all(row[1].lstrip("-").isdigit() and row[4].isdigit() for row in after[1:])
        assert all(float(row[3]) > 0 for row in after[1:])


def test_another_table_of_the_same_columns_in_another_order_is_filled_in(a_table_run, run):
    names = ["city", "kids", "owner", "age", "income"]
    write("other.csv", [["", "1", "true", "30", ""], ["Oslo", "", "false", "", "1e4"]], names)
    code, _, err = run("impute", a_table_run / "run", "--data", "other.csv", "--out", "filled.csv")
    found = read("filled.csv")
    assert code == 0 and found[0] == names and found[1][1:4] == ["1", "true", "30"], err
    assert all(all(row) for row in found)


REFUSED = {
    "other columns": (
        (["age", "city", "height"], [["1", "Bern", "3"]]),
        "it lacks 'income', 'kids', 'owner' and has 'height' besides",
    ),
    "text among numbers": (
        (NAMES, [["p", "old", "Bern", "1", "2", "true"]]),
        "text 'old' in column 'age', item 1",
    ),
    "another class": (
        (NAMES, [["p", "30", "Rome", "1", "2", "true"]]),
        "'Rome' in column 'city', item 1, but its classes are Bern",
    ),
    "a ragged row": (
        (NAMES, [["p", "30", "Bern", "1", "2"], ["p"]]),
        "5 cells in line 2, but 6 in the first",
    ),
}


@pytest.mark.parametrize("content, sentence", REFUSED.values(), ids=REFUSED)
def test_a_table_that_does_not_fit_the_run_is_refused(a_table_run, run, content, sentence):
    names, cells = content
    write("bad.csv", cells, names)
    code, _, err = run("impute", a_table_run / "run", "--data", "bad.csv", "--out", "filled.csv")
    assert code == 2 and sentence in err


def test_an_ending_of_another_kind_is_refused(a_table_run, run):
    code, _, err = run(
        "impute", a_table_run / "run", "--data", a_table_run / "my.csv", "--out", "filled.npy"
    )
    assert code == 2 and "ends in '.npy'; let it end in '.csv'" in err


def test_pictures_with_holes_are_filled_in_as_an_array(run):
    x = np.random.default_rng(0).random((40, 1, 4, 4)).astype(np.float32)
    x[::2, :, 1] = np.nan
    np.save("holes.npy", x)
    assert run(*TRAIN, "--data", "arrays('holes.npy')", "--out", "run")[0] == 0
    code, out, err = run("impute", "run", "--data", "holes.npy", "--out", "filled.npy")
    found = np.load("filled.npy")
    assert code == 0 and "20 of 40 items" in out and not np.isnan(found).any(), err
    assert (found == x)[~np.isnan(x)].all()


def test_a_table_for_a_run_on_other_data_is_refused(trained, path):
    code, _, err = trained("impute", "a", "--data", path, "--out", "filled.csv")
    assert code == 2 and 'train on --data "table(' in err


def test_a_run_that_takes_no_missing_entries_is_told_which_parts_do(trained):
    np.save("holes.npy", np.full((3, 1, 8, 8), np.nan, np.float32))
    code, _, err = trained("impute", "a", "--data", "holes.npy", "--out", "filled.npy")
    assert code == 2 and "encoder=ZeroImputed" in err


def test_the_columns_stand_in_the_run_folder(a_table_run):
    found = TableFormat.load(a_table_run / "run" / "columns.json")
    assert [column.name for column in found.columns] == NAMES[1:] and found.left_out == ("id",)
    assert isinstance(Run(a_table_run / "run").load().likelihood, Mixed)
    assert Nominal.__name__ in [column.likelihood for column in found.columns]
