"""Molecules by the command line: SMILES, pictures and a table beside the data's own."""

import json
import shutil
import sys

import pytest
import torch
from PIL import Image

from pyro_vae import load
from pyro_vae.app import molecules as shown
from pyro_vae.app import texts
from pyro_vae.app.run import Run
from pyro_vae.molecules import canonical, summary

from .molecule_lists import BROKEN, KNOWN

PROGRAM = (
    "VAE(latent_dim=2, encoder=partial(RecurrentEncoder, units=8, embedding_dim=8), "
    "likelihood=RecurrentTokens(units=8, embedding_dim=8))"
)


def size(path):
    with Image.open(path) as image:
        return image.size


def trained_on(tokens, command, tmp_path_factory):
    """The folder of a small run on molecules, and beside it their file."""
    folder = tmp_path_factory.mktemp(tokens)
    (folder / "mine.smi").write_text("\n".join(KNOWN))
    data = f"smiles('{folder}/mine.smi', tokens='{tokens}', valid='{folder}/mine.smi', "
    data += f"test='{folder}/mine.smi')"
    words = ("train", PROGRAM, "--data", data, "--steps", 4, "--batch-size", 15)
    assert command(*words, "--out", folder / "r") == 0
    return folder / "r"


@pytest.fixture(scope="module")
def of_smiles(command, tmp_path_factory):
    return trained_on("smiles", command, tmp_path_factory)


@pytest.fixture(scope="module")
def of_selfies(command, tmp_path_factory):
    return trained_on("selfies", command, tmp_path_factory)


@pytest.fixture(params=["smiles", "selfies"])
def either(run, request, tmp_path):
    """The folder "r" of a small run, in the folder where commands run."""
    shutil.copytree(request.getfixturevalue(f"of_{request.param}"), tmp_path / "r")
    return tmp_path / "r"


@pytest.fixture
def smiles(run, of_smiles, tmp_path):
    shutil.copytree(of_smiles, tmp_path / "r")
    return tmp_path / "r"


def test_the_run_knows_that_its_texts_are_molecules(either):
    assert Run(either).vocabulary.notation in ("smiles", "selfies")
    names = {path.name for path in either.iterdir()}
    assert names >= {"samples.txt", "reconstructions.txt", "curves.png", "vocabulary.json"}
    assert load(either).likelihood.num_tokens == len(Run(either).vocabulary)


def test_samples_are_smiles_canonical_where_they_parse(run, either):
    code, out, error = run("sample", "r", "-n", 50)
    lines = (either / "samples.txt").read_text().splitlines()
    assert code == 0 and error == "" and len(lines) == 50
    found = canonical(lines)
    assert [a for a, b in zip(lines, found, strict=True) if b is not None and a != b] == []
    if Run(either).vocabulary.notation == "selfies":
        assert all(found[i] is not None for i, line in enumerate(lines) if line)
    assert "nearest of the training data" in out and "QED" in out


def test_the_table_says_of_samples_and_data_what_a_summary_does(run, smiles):
    _, out, _ = run("sample", "r", "-n", 50)
    lines = (smiles / "samples.txt").read_text().splitlines()
    table = json.loads((smiles / "samples.json").read_text())
    assert list(table) == ["50 samples", "15 test data", "15 training data"]
    train = canonical(KNOWN)
    assert table["50 samples"] == summary(lines, train).as_json()
    assert table["15 test data"] == summary(train, train).as_json()
    assert table["15 test data"]["novel"] == 0 and table["15 training data"]["valid"] == 1
    assert "no FCD: it needs 1,000 test data and as many samples that parse" in out


def test_what_samples_are_compared_with_is_written_once(run, smiles):
    assert run("sample", "r", "-n", 3)[0] == 0
    assert (smiles / "train.smi").read_text().split() == canonical(KNOWN)
    (smiles / "train.smi").write_text("CCO\n")
    assert run("sample", "r", "-n", 3)[0] == 0
    assert "1 training data" in json.loads((smiles / "samples.json").read_text())


def test_a_run_that_goes_on_forgets_what_samples_were_compared_with(run, smiles):
    assert run("sample", "r", "-n", 3)[0] == 0
    assert run("train", "--resume", "r", "--steps", 5)[0] == 0
    assert not (smiles / "train.smi").exists() and not (smiles / "test.smi").exists()


def test_samples_are_written_though_the_data_are_gone(run, smiles, monkeypatch):
    def gone(*_):
        raise FileNotFoundError("the data are not there any more")

    monkeypatch.setattr(Run, "data", lambda *_, **__: gone())
    code, out, error = run("sample", "r", "-n", 5)
    assert code == 2 and "not there any more" in error
    assert len((smiles / "samples.txt").read_text().splitlines()) == 5


def test_a_picture_has_the_first_twelve_molecules(tmp_path):
    path = shown.draw([*BROKEN, *KNOWN], tmp_path / "a.png")
    assert size(path) == (1000, 750)
    with pytest.raises(ValueError, match="none of the samples parses"):
        shown.draw(BROKEN, path)


def test_samples_of_which_none_parses_are_said(smiles, capsys):
    shown.show(Run(smiles), BROKEN, smiles / "a.txt")
    assert "none of the samples parses" in capsys.readouterr().out
    assert not (smiles / "a.png").exists()


def test_fcd_is_printed_where_there_is_enough(smiles, capsys, monkeypatch):
    monkeypatch.setattr(shown, "FEWEST_FOR_FCD", 15)
    monkeypatch.setattr(sys.modules["pyro_vae.molecules.summary"], "FEWEST_FOR_FCD", 15)
    shown.show(Run(smiles), KNOWN, smiles / "a.txt")
    table = json.loads((smiles / "a.json").read_text())
    assert table["15 samples"]["fcd"] == pytest.approx(0, abs=1e-3)
    assert table["15 training data"]["fcd"] == pytest.approx(0, abs=1e-3)
    assert "FCD to the test data" in capsys.readouterr().out


def test_without_fcd_the_table_says_how_it_is_installed(smiles, capsys, monkeypatch):
    monkeypatch.setattr(shown, "FEWEST_FOR_FCD", 15)
    for name in ("fcd", "fcd.fcd", "fcd.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    shown.show(Run(smiles), KNOWN, smiles / "a.txt")
    assert "no FCD: FCD needs the package fcd, which the extra" in capsys.readouterr().out


def test_a_line_goes_from_one_molecule_to_another(run, either):
    code, out, error = run("interpolate", "r", "--pair", "OCC,CC(=O)Nc1ccc(O)cc1", "--steps", 3)
    assert code == 0, error
    lines = (either / "interpolation.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["data", "0.00", "0.50", "1.00", "data"]
    assert lines[0] == "data  CCO" and lines[4] == "data  CC(=O)Nc1ccc(O)cc1"
    assert size(either / "interpolation.png") == (5 * 250, 250)


def test_a_line_between_molecules_needs_no_data(run, smiles):
    (file,) = {part for part in Run(smiles).config.data.split("'") if part.endswith(".smi")}
    config = json.loads((smiles / "config.json").read_text())
    config["data"] = config["data"].replace(file, "gone.smi")
    (smiles / "config.json").write_text(json.dumps(config))
    assert run("interpolate", "r", "--pair", "CCO,CC(=O)O", "--pair", "CCO,CCO")[0] == 0
    assert size(smiles / "interpolation.png") == (2500, 500)


def test_a_line_between_two_data_is_drawn_too(run, smiles):
    assert run("interpolate", "r", "--pair", "0,4", "--steps", 2)[0] == 0
    lines = (smiles / "interpolation.txt").read_text().splitlines()
    assert [lines[0], lines[3]] == [f"data  {canonical([KNOWN[i]])[0]}" for i in (0, 4)]
    assert size(smiles / "interpolation.png") == (1000, 250)


def test_reconstructions_count_the_molecules_that_come_back(run, smiles):
    code, out, _ = run("reconstruct", "r", "-n", 15)
    lines = (smiles / "reconstructions.txt").read_text().splitlines()
    data, made = ([line.split("  ")[-1] for line in lines[i::3]] for i in (0, 1))
    count = sum(a == b for a, b in zip(data, made, strict=True))
    assert code == 0 and f"{count} of 15 come back as the same molecule" in out


def test_molecules_that_come_back_are_counted_by_canonical_smiles():
    said = shown.same(["OCC", "C(C", "c1ccccc1"], ["CCO", "C(C", "C"])
    assert said == "1 of 3 come back as the same molecule"


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("interpolate", "r", "--pair", "CCO"), 'takes two numbers such as "3,17", or two SMILES'),
        (("interpolate", "r", "--pair", "CCO,C(C"), "'C(C' does not parse as SMILES"),
        (("interpolate", "r", "--pair", "CCO,CCBr"), "'CCBr' has the token 'Br', which the run"),
        (("interpolate", "r", "--pair", f"CCO,{'C' * 40}"), "has 40 tokens, but the run knows"),
        (("sample", "r", "--out", "a.png"), "--out names the file of SMILES, and .png is written"),
        (("interpolate", "r", "--out", "a.png"), "--out names the file of SMILES"),
        (("evaluate", "r", "--data", "smiles('o.smi')"), "as the run does: smiles(..., vocabular"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(run, smiles, words, sentence):
    (smiles.parent / "o.smi").write_text("CCO\nCCN\nCCC\nCCCC\n")
    code, _, error = run(*words)
    assert code == 2 and sentence in error


def test_other_molecules_are_judged_with_the_tokens_of_the_run(run, smiles):
    (smiles.parent / "o.smi").write_text("CCO\nCCN\nCCC\nCCCC\nCCCl\n" * 2)
    data = "smiles('o.smi', vocabulary='r/vocabulary.json', max_length=26)"
    code, out, error = run("evaluate", "r", "--data", data, "--num-particles", 2)
    assert code == 0 and "bound" in out, error


def test_texts_that_are_no_molecules_stay_as_they_are(smiles):
    vocabulary = Run(smiles).vocabulary
    writer = texts.Writer(load(smiles), vocabulary)
    ids = vocabulary.table([["O", "C", "C"], ["C", "(", "C"]], 5)
    assert writer.texts(ids) == ["CCO", "C(C"]
    assert writer.texts(torch.tensor([[0, -1]])) == [""]
