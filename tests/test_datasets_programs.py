"""Programs of the library and of users on users' own files, from the command line's texts on."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae.app.prepare import known_from, labelled, preflight
from pyro_vae.app.text import read_data, read_loss, read_program
from pyro_vae.inference import Trace_ELBO, evaluate

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_numbers_whichever_tests_ran_before():
    RNG.bit_generator.state = START


HEAD = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn

encoder, decoder = nn.Linear(4, 2), nn.Linear(2, 4)


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(encoder(x.nan_to_num()), 1.0).to_event(1))


def model(x):
    there = x.isfinite()
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
"""
MASKED = """        p = dist.Normal(decoder(z), 1.0)
        pyro.sample("x", p.mask(there).to_event(1), obs=x.nan_to_num())
"""
MASKED_TOO_LATE = """        with pyro.poutine.mask(mask=there.all(1)):
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)
"""
FORGOTTEN = """        pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = RNG.standard_normal((300, 4))
    x[::50, 1] = np.nan
    np.save("t.npy", x)
    return "arrays('t.npy')"


def _checked(program, data):
    data = read_data(data)
    loss = read_loss("Trace_ELBO", known_from(data))
    return preflight(read_program(program, known_from(data)), data, loss, 64)


def test_a_table_with_missing_entries_passes_where_encoder_and_likelihood_leave_them_out(table):
    assert np.isfinite(_checked("VAE(encoder=ZeroImputed)", table).loss)


def test_a_users_program_that_masks_missing_entries_passes(table, tmp_path):
    (tmp_path / "mine.py").write_text(HEAD + MASKED)
    assert np.isfinite(_checked("mine.py", table).loss)


def test_a_users_program_that_masks_has_the_bound_of_what_is_there(table, tmp_path):
    (tmp_path / "mine.py").write_text(HEAD + MASKED)
    program = read_program("mine.py", {})
    x = torch.tensor([[1.0, torch.nan, 2.0, 0.5]])
    torch.manual_seed(0)
    distortion = evaluate(program, x, num_particles=1).distortion
    torch.manual_seed(0)
    # one more observed entry costs its own density and nothing else
    whole = evaluate(program, x.nan_to_num(0.0), num_particles=1).distortion
    assert (whole - distortion).item() >= 0.5 * np.log(2 * np.pi) - 1e-6


@pytest.mark.parametrize("end", [MASKED_TOO_LATE, FORGOTTEN])
def test_a_users_program_that_forgets_missing_entries_is_told(table, tmp_path, end):
    (tmp_path / "mine.py").write_text(HEAD + end)
    with pytest.raises(
        ValueError, match="NaN or infinite values, which the program does not leave"
    ):
        _checked("mine.py", table)


@pytest.mark.parametrize("program", ["VAE", "VAE(likelihood=Normal())"])
def test_networks_that_pass_missing_entries_on_are_refused(table, program):
    with pytest.raises(ValueError, match="which the program does not leave out.*ZeroImputed"):
        _checked(program, table)


def test_missing_entries_beyond_the_first_batch_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = RNG.standard_normal((300, 4)).astype(np.float32)
    x_test = x[:20].copy()
    x_test[7, 2] = np.nan
    np.savez("t.npz", x_train=x, x_test=x_test)
    with pytest.raises(ValueError, match="hold 1 NaN or infinite values"):
        _checked("VAE", "arrays('t.npz')")
    assert np.isfinite(_checked("VAE(encoder=ZeroImputed)", "arrays('t.npz')").loss)


def test_labels_of_which_some_are_missing_train_a_semi_supervised_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    y = np.where(np.arange(300) % 2, np.arange(300) % 3 + 1, -1)
    np.savez("semi.npz", x=RNG.standard_normal((300, 4)), y=y)
    data = read_data("arrays('semi.npz')")
    program = read_program("SemiSupervisedVAE(latent_dim=2)", known_from(data))
    loss = read_loss("TraceEnum_ELBO(max_plate_nesting=1)", known_from(data))
    assert np.isfinite(preflight(program, data, loss, 64).loss)
    _, y = labelled(program, data.train, 64)
    assert set(y.tolist()) == {-1, 0, 1, 2}


PAGE = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
OWN = re.search(r"## Your own data\n(.*?)\n`check` and", PAGE, flags=re.DOTALL)[1]
SHAPES = {
    "arrays('x.npy')": (1, 50, 8),
    "arrays('x.npz')": (1, 50, 8),
    "arrays('x.npy', y='y.npy')": (1, 50, 8),
    "arrays('table.csv', standardize=True)": (2,),
    "arrays('iris.csv', y='species', standardize=True)": (2,),
    "arrays('people.csv', without=['name', 'date'], standardize=True)": (2,),
    "arrays('pixels.csv', x_shape=(1, 28, 28))": (1, 28, 28),
    "arrays('x.npy', x_shape=(50, 8))": (50, 8),
    "arrays('stack.tif')": (1, 8, 8),
    "folder('pictures', size=64)": (1, 64, 64),
    "arrays('semi.npz')": (2,),
    "arrays('x.npy', in_memory=False)": (1, 50, 8),
    "folder('pictures', size=64, in_memory=False)": (1, 64, 64),
}


def _write_rows(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))


def test_the_own_data_of_the_page_are_read_as_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = RNG.integers(0, 256, (60, 50, 8), np.uint8), np.arange(60) % 3
    np.save("x.npy", x)
    np.save("y.npy", y)
    np.savez("x.npz", x=x, y=y)
    np.savez("semi.npz", x=RNG.random((60, 2)), y=np.where(y, y, -1))
    pixels = RNG.integers(0, 256, (60, 784))
    pixels[0, :2] = 0, 255
    names = [f"pixel{i}" for i in range(784)]
    _write_rows(tmp_path / "pixels.csv", ",".join(names), pixels)
    _write_rows(tmp_path / "table.csv", "a,b", 1e4 * RNG.random((60, 2)))
    kinds = [[1.5 * i, 0.1 * i, "xyz"[i % 3]] for i in range(60)]
    _write_rows(tmp_path / "iris.csv", "a,b,species", kinds)
    people = [[f"Ann {i}", "2020-01-01", i, i * i] for i in range(60)]
    _write_rows(tmp_path / "people.csv", "name,date,a,b", people)
    pages = [Image.fromarray(page) for page in RNG.integers(0, 2**16, (9, 8, 8), np.uint16)]
    pages[0].save("stack.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "pictures").mkdir()
    for i in range(9):
        Image.fromarray(x[i]).save(tmp_path / "pictures" / f"{i}.png")
    texts = re.findall(r'`"((?:arrays|folder)\(.*?)"`', OWN)
    assert set(texts) == set(SHAPES)
    for text in texts:
        assert read_data(text).x_shape == SHAPES[text], text
    for text, program in re.findall(r'`"(.*?)"` for `"?(\w.*?)"?`', OWN):
        data = read_data(text)
        report = preflight(read_program(program, known_from(data)), data, Trace_ELBO(), 64)
        assert np.isfinite(report.loss), text


@pytest.mark.parametrize(
    "y, program, sentence",
    [
        (np.arange(300) % 3 - 1, "ConditionalVAE(latent_dim=2)", "labels are missing .-1, or NaN"),
        (
            np.where(np.arange(300) % 2, np.linspace(0, 1, 300), np.nan),
            "ConditionalVAE(latent_dim=2)",
            "labels are missing .-1, or NaN",
        ),
        (
            np.linspace(0, 1, 300),
            "SemiSupervisedVAE(latent_dim=2)",
            r"labels are of shape \(64, 1\) and torch.float32, but a SemiSupervisedVAE takes",
        ),
        (None, "SemiSupervisedVAE(latent_dim=2)", "needs labels y"),
    ],
)
def test_labels_that_a_program_does_not_take_are_named(tmp_path, monkeypatch, y, program, sentence):
    monkeypatch.chdir(tmp_path)
    np.savez("l.npz", x=RNG.standard_normal((300, 4)), **({} if y is None else {"y": y}))
    with pytest.raises(ValueError, match=sentence):
        _checked(program, "arrays('l.npz')")


@pytest.mark.parametrize(
    "text, program",
    [
        ("arrays('grey.npy')", "VAE"),
        ("arrays('grey.npy', binarize='dynamic', missing=0.2)", "VAE(encoder=ZeroImputed)"),
        ("arrays('grey.npy', missing=0.2)", "VAE(encoder=ZeroImputed)"),
        ("arrays('grey.npy', x_shape=(8, 8))", "DeepMarkovModel(2, emission=Normal((8,)))"),
        ("arrays('colour.npy')", "VAE(encoder=ConvEncoder, decoder=ConvDecoder)"),
        ("arrays('table.csv', standardize=True, labels=30)", "SemiSupervisedVAE(latent_dim=2)"),
        ("arrays('table.csv', standardize=True, x=['a', 'b'])", "VAE"),
        ("arrays('table.csv', scale=10_000)", "ConditionalVAE(latent_dim=2)"),
    ],
)
def test_texts_of_own_data_go_with_programs(tmp_path, monkeypatch, text, program):
    monkeypatch.chdir(tmp_path)
    np.save("grey.npy", RNG.integers(0, 256, (90, 8, 8)))
    np.save("colour.npy", RNG.integers(0, 256, (90, 16, 16, 3), np.uint8))
    rows = np.column_stack([1e4 + 1e3 * RNG.standard_normal((90, 3)), np.arange(90) % 3])
    lines = "\n".join(",".join(f"{value:g}" for value in row) for row in rows)
    (tmp_path / "table.csv").write_text("a,b,c,label\n" + lines)
    data = read_data(text)
    built = read_program(program, known_from(data))
    torch.manual_seed(0)
    report = preflight(built, data, Trace_ELBO(), 64)
    assert np.isfinite(report.loss)
