"""New labelled data: their labels, where they come from, and the layouts they are written in."""

import csv

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from PIL import Image

from pyro_vae.app.layouts import write_data
from pyro_vae.datasets import Dataset, Split, arrays, digits, folder
from pyro_vae.inference import augment
from pyro_vae.models import VAE, ConditionalVAE, GaussianMixtureVAE

SMALL = {"latent_dim": 2, "hidden": (8,)}
X = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = Split(X, torch.tensor([0, 1, 2, 0, 1, 2, 0, -1, 1]))
KINDS = ["near", "prior", "between"]


class Exact:
    """z = x of the one number of a datum, and x = z + 100 y: what is made tells where it is from.

    The prior lies at -10.
    """

    def model(self, x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(-10.0, 1e-4).expand([1]).to_event(1))
            loc = z % 100 + 100 * y[:, None] if len(y) else z
            return pyro.sample("x", dist.Normal(loc, 1e-4).to_event(1), obs=x)

    def guide(self, x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x % 100, 1e-4).to_event(1))


NUMBERS = Split(torch.tensor([[3.0], [5.0], [107.0], [111.0]]), torch.tensor([0, 0, 1, 1]))


def test_data_near_others_have_their_labels_and_are_near_them():
    made = augment(Exact(), NUMBERS, 40)
    assert made.y.tolist() == [0] * 20 + [1] * 20
    assert set(made.x[:20].round().flatten().tolist()) == {3.0, 5.0}
    assert set(made.x[20:].round().flatten().tolist()) == {107.0, 111.0}


def test_data_of_the_prior_have_the_label_that_they_are_drawn_for():
    made = augment(Exact(), NUMBERS, 6, kind="prior")
    assert made.x.round().flatten().tolist() == [90.0] * 3 + [190.0] * 3


def test_data_between_others_lie_between_two_of_one_class():
    made = augment(Exact(), NUMBERS, 200, kind="between")
    for y, low, high in ((0, 3, 5), (1, 107, 111)):
        x = made.x[made.y == y]
        assert low - 0.01 < x.min() < x.max() < high + 0.01
        assert ((x > low + 0.1) & (x < high - 0.1)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_classes_share_the_number_out(kind):
    made = augment(ConditionalVAE((1, 8, 8), num_classes=3, **SMALL), DATA, 10, kind=kind)
    assert made.x.shape == (10, 1, 8, 8)
    assert made.y.bincount().tolist() == [4, 3, 3]  # and none of the missing label


@pytest.mark.parametrize("kind", KINDS)
def test_programs_by_class_draw_each_their_own(kind):
    programs = {label: VAE((1, 8, 8), **SMALL) for label in range(3)}
    with torch.no_grad():
        for label, program in programs.items():  # a picture that is all of one grey
            last = list(program.decoder.parameters())[-2:]
            last[0].zero_()
            last[1].fill_(torch.logit(torch.tensor((label + 1) / 10)))
    made = augment(programs, DATA, 6, kind=kind)
    torch.testing.assert_close(made.x.mean((1, 2, 3)), (made.y + 1) / 10)


def test_draws_of_bits_are_bits():
    made = augment(ConditionalVAE((1, 8, 8), num_classes=3, **SMALL), DATA, 5, mean=False)
    assert ((made.x == 0) | (made.x == 1)).all()


def test_a_program_of_all_classes_makes_data_near_others():
    assert augment(VAE((1, 8, 8), **SMALL), DATA, 5).y.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    "program, data, options, sentence",
    [
        (VAE((1, 8, 8), **SMALL), DATA, {"kind": "prior"}, "its prior does not know the label"),
        (VAE((1, 8, 8), **SMALL), DATA, {"kind": "far"}, "kind must be one of 'near', 'prior'"),
        (VAE((1, 8, 8), **SMALL), Split(X), {}, "these have no labels"),
        (VAE((1, 8, 8), **SMALL), Split(X, torch.full((9,), -1)), {}, "none of the data has a"),
        ({0: VAE((1, 8, 8), **SMALL)}, DATA, {}, "there is no program of class 1, but of 0"),
        (
            GaussianMixtureVAE((1, 8, 8), num_components=3, **SMALL),
            DATA,
            {"kind": "between"},
            r"latents \['y'\] are discrete",
        ),
    ],
    ids=["prior", "kind", "no labels", "none known", "no program", "discrete"],
)
def test_what_cannot_be_made_is_refused(program, data, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        augment(program, data, 6, **options)


def written_as_read(tmp_path, name, data):
    """Training data as they are read again from where they were written."""
    write_data(tmp_path / name, data.train, data)
    return tmp_path / name


def all_of(data):
    parts = (data.train, data.valid, data.test)
    x, y = torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts])
    order = x.flatten(1).sum(1).argsort()
    return x[order], y[order]


@pytest.mark.parametrize("name", ["new.csv", "new.tsv", "new.npz"])
def test_a_table_is_written_as_it_came(tmp_path, name):
    lines = [f"{i * 7 % 50},{i / 3:.4f},{'cat' if i % 2 else 'dog'}" for i in range(50)]
    (tmp_path / "mine.csv").write_text("\n".join(["weight,length,label", *lines]))
    data = arrays(tmp_path / "mine.csv", standardize=True)
    again = arrays(written_as_read(tmp_path, name, data), scale=1)
    restored = data.origin.restored(data.train.x)
    order, (x, y) = restored.sum(1).argsort(), all_of(again)
    torch.testing.assert_close(x, restored[order], rtol=1e-4, atol=1e-4)
    assert torch.equal(y, data.train.y[order]) and again.label_names == ("cat", "dog")


def test_the_header_of_a_table_is_its_own(tmp_path):
    (tmp_path / "mine.csv").write_text(
        "weight,kind,length\n" + "".join(f"{i},{'ab'[i % 2]},{i}\n" for i in range(30))
    )
    data = arrays(tmp_path / "mine.csv", y="kind")
    with open(written_as_read(tmp_path, "new.csv", data)) as file:
        header, *rows = list(csv.reader(file))
    assert header == ["weight", "length", "kind"] and len(rows) == len(data.train)
    assert all(a == b and name == "ab"[int(a) % 2] for a, b, name in rows)


def test_a_folder_of_pictures_is_written_as_it_came(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / label / f"{i}.png")
    data = folder(tmp_path / "mine")
    again = folder(written_as_read(tmp_path, "new", data))
    assert again.label_names == ("cat", "dog")
    order, (x, y) = data.train.x.flatten(1).sum(1).argsort(), all_of(again)
    torch.testing.assert_close(x, data.train.x[order])
    assert torch.equal(y, data.train.y[order])


def test_grey_levels_are_written_as_such(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(30) % 3)
    data = arrays(tmp_path / "mine.npz")
    found = np.load(written_as_read(tmp_path, "new.npz", data))
    assert found["x"].dtype == np.uint8 and found["x"].shape == (len(data.train), 1, 4, 4)


def test_pt_files_are_read_again(tmp_path):
    path = written_as_read(tmp_path, "new.pt", digits(None))
    assert torch.equal(all_of(arrays(path))[1].bincount(), digits(None).train.y.bincount())


@pytest.mark.parametrize(
    "name, shape, sentence",
    [
        ("new.jpg", (1, 4, 4), r"ends in '.jpg', but data are written as .npz, .pt, .csv, .tsv"),
        ("new", (4,), r"data of shape \(4,\) are no pictures"),
        ("full", (1, 4, 4), "holds something already"),
    ],
)
def test_layouts_that_cannot_be_written_are_refused(tmp_path, name, shape, sentence):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    split = Split(torch.rand(4, *shape), torch.arange(4))
    with pytest.raises(ValueError, match=sentence):
        write_data(tmp_path / name, split, Dataset("mine", split, split, split))


def test_the_command_writes_what_a_conditional_program_makes(run, tmp_path):
    words = ("train", "ConditionalVAE(latent_dim=2, hidden=(8,))", "--steps", 2, "--out", "a")
    assert run(*words)[0] == 0
    code, out, err = run("augment", "a", "--out", "more.npz", "-n", 25)
    assert code == 0 and "25 data: 3 of 0, 3 of 1" in out, err
    found = arrays("more.npz")
    assert found.x_shape == (1, 8, 8) and found.num_classes == 10


def test_the_command_takes_a_run_for_each_label(run, tmp_path):
    for label in (3, 7):
        data = f"only_labels(digits(), {label})"
        words = ("train", "VAE(latent_dim=2, hidden=(8,))", "--data", data, "--steps", 1)
        assert run(*words, "--out", f"of-{label}")[0] == 0
    code, out, err = run("augment", "of-3", "of-7", "--out", "new", "-n", 6, "--kind", "prior")
    assert code == 0 and "3 of 3, 3 of 7" in out, err
    assert len([*tmp_path.glob("new/3/*.png")]) == len([*tmp_path.glob("new/7/*.png")]) == 3
    code, _, err = run("augment", "of-3", "of-3", "--out", "again", "-n", 6)
    assert code == 2 and "of-3 has labels 3; train each on only_labels" in err
