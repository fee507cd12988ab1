"""An estimator in a user's file: trained by, judged by, kept and resumed as ours are."""

import json
import shutil

import pytest

from pyro_vae.app.text import read_loss

SMALL = "VAE(latent_dim=2, hidden=(8,))"
OWN = """
from dataclasses import dataclass

from pyro_vae.inference import Estimator


@dataclass(frozen=True)
class Mine(Estimator):
    weight: float = 1.0

    def objective(self, t):
        return self.weight * t.log_w.mean(0)


class Other:
    pass
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The file, in the present folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train_loss"] for line in lines]


def test_a_file_gives_an_estimator_with_its_arguments(own):
    loss = read_loss("mine.py:Mine(num_particles=3, weight=linear(0, 1, 10))", {})
    assert (loss.num_particles, loss.at(5).weight) == (3, 0.5)


def test_a_training_by_it_is_that_by_its_twin_of_ours(own, run):
    for loss, out in (("mine.py:Mine", "a"), ("Trace_ELBO", "b")):
        assert run("train", SMALL, "--loss", loss, "--steps", 12, "--out", out)[0] == 0
    assert metrics(own / "a") == pytest.approx(metrics(own / "b"), rel=1e-5)


def test_a_run_goes_on_by_its_own_copy(own, run):
    words = ("train", SMALL, "--loss", "mine.py:Mine(weight=2.0)", "--no-compile")
    assert run(*words, "--epochs", 2, "--out", "whole")[0] == 0
    assert run(*words, "--epochs", 1, "--out", "parts")[0] == 0
    (own / "mine.py").unlink()
    assert run("train", "--resume", "parts", "--epochs", 2)[0] == 0
    assert metrics(own / "parts") == metrics(own / "whole")
    assert run("evaluate", "parts", "--data", "digits", "--num-particles", 2, "--limit", 5)[0] == 0


def test_program_and_estimator_may_stand_in_one_file_or_in_two(own, run):
    (own / "both.py").write_text(OWN + "\nfrom pyro_vae.models import VAE\n")
    program = "both.py:VAE(latent_dim=2, hidden=(8,))"
    for loss, out in (("both.py:Mine", "one"), ("mine.py:Mine", "two")):
        assert run("train", program, "--loss", loss, "--steps", 2, "--out", out)[0] == 0
    assert {p.name for p in (own / "one").glob("*.py")} == {"both.py"}
    assert {p.name for p in (own / "two").glob("*.py")} == {"both.py", "mine.py"}


def test_two_files_of_one_name_are_refused_before_anything_is_written(own, run):
    (own / "there").mkdir()
    shutil.copy("mine.py", "there/mine.py")
    (own / "mine.py").write_text(OWN + "\nfrom pyro_vae.models import VAE\n")
    words = ("train", "mine.py:VAE(latent_dim=2)", "--loss", "there/mine.py:Mine", "--out", "a")
    code, _, err = run(*words, "--steps", 2)
    assert code == 2 and "call one of them otherwise" in err
    assert not (own / "a" / "config.json").exists()


def test_it_is_checked_and_compared(own, run):
    assert run("check", SMALL, "--loss", "mine.py:Mine(num_particles=3)")[0] == 0
    words = ("--loss", "mine.py:Mine", "--loss", "IWAE", "--num-particles", 2, "--repeats", 2)
    code, out, err = run("compare", SMALL, *words)
    assert code == 0 and "Mine" in out, err


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("mine.py", 'name the estimator of mine.py that is meant: "mine.py:MyEstimator'),
        ("mine.py:Mien", "did you mean 'Mine'"),
        ("mine.py:Other()", "is a Other, which is no estimator; let its class inherit"),
        ("mine.py:Mine(wieght=2)", "no argument 'wieght', did you mean 'weight'"),
    ],
)
def test_what_is_no_estimator_of_a_file_is_refused(own, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_loss(text, {})
