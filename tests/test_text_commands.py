"""Texts by the command line: what a run keeps of them, and what its program writes."""

import shutil
from collections import Counter

import pytest
import torch

from pyro_vae import datasets, load
from pyro_vae.app import texts
from pyro_vae.app.run import Run
from pyro_vae.datasets import Vocabulary
from pyro_vae.inference import sample
from pyro_vae.likelihoods import RecurrentTokens
from pyro_vae.models import AutoregressiveModel

SMALL = "partial(RecurrentEncoder, units=8, embedding_dim=8)"
PROGRAM = (
    f"VAE(latent_dim=2, encoder={SMALL}, likelihood=RecurrentTokens(units=8, embedding_dim=8))"
)


@pytest.fixture(scope="module")
def of_names(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts") / "r"
    assert command("train", PROGRAM, "--data", "names", "--steps", 3, "--out", folder) == 0
    return folder


@pytest.fixture
def names(run, of_names, tmp_path):
    """The folder "r" of a small run on names, in the folder where commands run."""
    shutil.copytree(of_names, tmp_path / "r")
    return tmp_path / "r"


def test_the_run_keeps_the_vocabulary_and_writes_texts(names):
    vocabulary = datasets.names().vocabulary
    assert Run(names).vocabulary == vocabulary == Vocabulary.load(names / "vocabulary.json")
    assert Run(names).known["num_tokens"] == 26
    assert {p.name for p in names.iterdir()} >= {"samples.txt", "reconstructions.txt", "curves.png"}
    assert not (names / "samples.png").exists()
    assert len((names / "samples.txt").read_text().splitlines()) == 20
    assert load(names).likelihood.num_tokens == 26


def test_the_perplexity_is_of_all_tokens_and_ends(names):
    results, x = Run(names).results, datasets.names().test.x
    nats = -results["bound"] * len(x) / (x >= 0).sum()
    assert results["nats_per_token"] == pytest.approx(nats.item(), rel=1e-6)
    assert results["perplexity"] == pytest.approx(nats.exp().item(), rel=1e-6)


def test_samples_are_printed_and_written(run, names):
    code, out, _ = run("sample", "r", "-n", 5, "--top-p", 0.9, "--temperature", "{'x': 0.8}")
    assert code == 0
    written = (names / "samples.txt").read_text()
    assert out.startswith(written) and len(written.splitlines()) == 5
    assert set(written) <= {*"".join(datasets.names().vocabulary.tokens[1:]), "\n"}
    assert run("sample", "r", "-n", 5, "--out", "mine.txt")[0] == 0
    assert (names.parent / "mine.txt").exists()


def test_many_samples_are_drawn_a_part_at_a_time(run, names, monkeypatch):
    asked = []
    monkeypatch.setattr(texts, "_AT_ONCE", 4)
    monkeypatch.setattr(
        texts, "sample", lambda *args, **options: asked.append(args[1]) or sample(*args, **options)
    )
    assert run("sample", "r", "-n", 10)[0] == 0 and asked == [4, 4, 2]
    assert len((names / "samples.txt").read_text().splitlines()) == 10


def test_reconstructions_stand_below_their_texts(run, names):
    code, out, _ = run("reconstruct", "r", "-n", 2)
    x = datasets.names().test.x[:2]
    data = datasets.names().vocabulary.texts(x)
    lines = (names / "reconstructions.txt").read_text().splitlines()
    assert code == 0 and lines[0] in out
    assert [lines[0], lines[3]] == [f"data  {text}" for text in data]
    assert lines[1].startswith("made") and lines[2] == ""


def test_a_line_between_two_texts_has_both_at_its_ends(run, names):
    code, out, _ = run("interpolate", "r", "--pair", "0,5", "--steps", 3)
    first, last = datasets.names().vocabulary.texts(datasets.names().test.x[[0, 5]])
    lines = (names / "interpolation.txt").read_text().splitlines()
    assert code == 0 and (lines[0], lines[4]) == (f"data  {first}", f"data  {last}")
    assert [line.split()[0] for line in lines[1:4]] == ["0.00", "0.50", "1.00"]


def test_a_latent_that_moves_writes_a_text_for_each_step(run, names):
    assert run("traverse", "r", "--num", 1, "--steps", 3)[0] == 0
    lines = (names / "traversal.txt").read_text().splitlines()
    assert lines[0].startswith("z[") and [line.split()[0] for line in lines[1:4]] == [
        "-3",
        "0",
        "+3",
    ]


def test_the_latents_of_texts_are_shown_where_they_lie(run, names):
    assert run("manifold", "r")[0] == 0 and (names / "manifold.png").exists()


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("arithmetic", "r"), "arithmetic makes pictures, and the data are texts"),
        (("reconstruct", "r", "--layers"), "--layers is a picture, and texts are none"),
        (("sample", "r", "--top-p", 1.5), "top_p must be above 0 and at most 1"),
        (("evaluate", "r", "--data", "text('own.txt')"), "has other tokens than the 26 that r was"),
    ],
)
def test_what_texts_cannot_do_is_refused(run, names, words, sentence):
    (names.parent / "own.txt").write_text("a b\nb c\nc d\n")
    code, _, error = run(*words)
    assert code == 2 and sentence in error


def test_a_new_text_is_judged_with_the_words_of_the_run(run, names):
    (names.parent / "own.txt").write_text("lala\nkeke\nsususu\n")
    text = "text('own.txt', tokens='characters', vocabulary='r/vocabulary.json', max_length=9)"
    code, out, _ = run("evaluate", "r", "--data", text, "--num-particles", 2)
    assert code == 0 and "bound" in out


def test_a_letter_that_the_run_has_no_id_for_is_refused(run, names):
    (names.parent / "own.txt").write_text("lala\nxyxy\nsususu\n")
    text = "text('own.txt', tokens='characters', vocabulary='r/vocabulary.json', max_length=9)"
    code, _, error = run("evaluate", "r", "--data", text)
    assert code == 2 and "'x' is none of the 26 tokens of the vocabulary" in error


def test_a_run_goes_on_with_the_same_words_alone(run, tmp_path):
    (tmp_path / "own.txt").write_text("one two\ntwo three\nthree one\n" * 10)
    words = ("train", PROGRAM, "--data", "text('own.txt', max_length=5)", "--out", "r")
    assert run(*words, "--epochs", 1)[0] == 0
    assert run("train", "--resume", "r", "--epochs", 2)[0] == 0
    (tmp_path / "own.txt").write_text("one two\ntwo four\nfour one\n" * 10)
    code, _, error = run("train", "--resume", "r", "--epochs", 3)
    assert code == 2 and "has other tokens than the 5 that r was trained on" in error


def test_a_damaged_vocabulary_is_said(run, names):
    (names / "vocabulary.json").write_text("{}")
    code, _, error = run("sample", "r")
    assert code == 2 and "vocabulary.json holds no vocabulary" in error


def test_a_conditional_program_writes_texts_of_each_label(run, tmp_path):
    parts = "likelihood=RecurrentTokens(units=8, embedding_dim=8)"
    (tmp_path / "own.py").write_text(
        "import pyro, torch\nimport pyro.distributions as dist\nfrom torch import nn\n"
        "class Given(nn.Module):\n"
        "    def __init__(self, x_shape, likelihood):\n"
        "        super().__init__()\n"
        "        self.likelihood, self.h = likelihood, nn.Embedding(4, 32)\n"
        "    def model(self, x, y):\n"
        "        with pyro.plate('data', len(x)):\n"
        "            pyro.sample('x', self.likelihood(self.h(y)), obs=x)\n"
        "    def guide(self, x, y):\n        pass\n"
    )
    words = ("train", f"own.py:Given({parts})", "--data", "names", "--steps", 2, "--out", "r")
    assert run(*words)[0] == 0
    assert run("sample", "r", "-n", 6)[0] == 0
    lines = (tmp_path / "r" / "samples.txt").read_text().splitlines()
    assert Counter(line.split("  ")[0] for line in lines) == {"0": 2, "1": 2, "2": 2, "3": 2}
    code, _, error = run("sample", "r", "--label", 4)
    assert code == 2 and "the labels are 0 to 3, and 4 is none of them" in error


# Temperatures of tokens


def known_tokens():
    """A program whose first token has the probabilities .1, .2, .7, whatever comes before."""
    likelihood = RecurrentTokens((1,), num_tokens=3, end=None, units=2, embedding_dim=2)
    with torch.no_grad():
        likelihood.read.weight.zero_()
        likelihood.read.bias.copy_(torch.tensor([0.1, 0.2, 0.7]).log())
    return AutoregressiveModel((1,), likelihood=likelihood)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, [0.1, 0.2, 0.7]),
        ({"temperature": 0.5}, [1 / 54, 4 / 54, 49 / 54]),
        ({"temperature": {"x": 0.5}}, [1 / 54, 4 / 54, 49 / 54]),
        ({"temperature": 0.0}, [0, 0, 1]),
        ({"top_k": 2}, [0, 2 / 9, 7 / 9]),
        ({"top_p": 0.8}, [0, 2 / 9, 7 / 9]),
        ({"top_p": 0.7}, [0, 0, 1]),
    ],
)
def test_tokens_are_drawn_as_often_as_the_temperature_says(options, expected):
    x = sample(known_tokens(), 20_000, (1,), mean=False, dtype=torch.int64, **options)
    found = torch.bincount(x.flatten(), minlength=3) / len(x)
    assert torch.allclose(found, torch.tensor(expected).float(), atol=0.015)  # 4 errors of 0.0035


def test_a_temperature_of_what_is_not_drawn_is_refused():
    with pytest.raises(ValueError, match="temperature names \\['w'\\]"):
        sample(known_tokens(), 2, (1,), mean=False, dtype=torch.int64, temperature={"w": 0.5})
