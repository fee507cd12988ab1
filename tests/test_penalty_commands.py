"""Penalties on the command line: written, saved with the run, and resumed."""

import json

import pytest
import torch

SMALL = "VAE(latent_dim=2, hidden=(16,))"
FILE = """
from pyro_vae.inference import Penalty

def l2(program):
    return 1e-4 * sum(p.square().sum() for p in program.parameters())

class L1(Penalty):
    def forward(self, program):
        return sum(p.abs().sum() for p in program.parameters())
"""


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def last(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def test_a_penalty_is_kept_with_its_run_and_goes_on_with_it(run, tmp_path):
    words = ("train", SMALL, "--penalty", "Spectral(linear(0.1, 1, 6))", "--no-compile")
    assert run(*words, "--epochs", 3, "--out", "a")[0] == 0
    assert run(*words, "--epochs", 1, "--out", "b")[0] == 0
    assert json.loads((tmp_path / "b" / "config.json").read_text())["penalty"] == words[3]
    code, _, err = run("train", "--resume", "b", "--epochs", 3)
    assert code == 0, err
    straight, resumed = last(tmp_path / "a"), last(tmp_path / "b")
    assert straight["program"].keys() == resumed["program"].keys()
    for part in ("program", "penalty"):
        of = [run if part == "program" else run["fit"]["svi"] for run in (straight, resumed)]
        assert of[0][part] and all(torch.equal(v, of[1][part][n]) for n, v in of[0][part].items())
    penalties = [[r["penalty"] for r in records(tmp_path / name)] for name in "ab"]
    assert penalties[0] == penalties[1] and min(penalties[0]) > 0


@pytest.mark.parametrize("call", ["l2", "L1(1e-4)"])
def test_a_penalty_may_stand_in_a_users_file(run, tmp_path, call):
    (tmp_path / "mine.py").write_text(FILE)
    words = ("train", SMALL, "--penalty", f"mine.py:{call}", "--steps", 1, "--out", "a")
    assert run(*words)[0] == 0
    (tmp_path / "mine.py").write_text("changed = True")  # the run has its own copy
    code, _, err = run("train", "--resume", "a", "--steps", 2)
    assert code == 0, err
    assert records(tmp_path / "a")[-1]["penalty"] > 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Spektral(0.01)", "there is no 'Spektral', did you mean 'Spectral'?"),
        ("0.01", "'0.01' is not a call such as Spectral(0.01)"),
        ("VAE()", "'VAE' is not one of the penalties, which are Spectral"),
        ("Spectral(-1)", "the weight of Spectral is -1"),
        ("mine.py", 'name the penalty of mine.py that is meant: "mine.py:L1(1e-4)"'),
        ("mine.py:nothing", "is None, but must be one number"),
    ],
)
def test_what_is_no_penalty_is_refused_before_anything_is_written(run, tmp_path, text, sentence):
    (tmp_path / "mine.py").write_text(FILE + "def nothing(program): ...\n")
    code, _, err = run("train", SMALL, "--penalty", text, "--out", "a")
    assert (code, sentence in err) == (2, True), err
    assert not (tmp_path / "a").exists()
