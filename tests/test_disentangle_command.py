"""The command `disentangle`, and the script that compares losses by it."""

import json
import shutil

import numpy as np
import pytest

from pyro_vae import plots
from tests.benchmarks import disentanglement as benchmark

SMALL = "sprites(size=16, asymmetric=True, scale=2, orientation=4, x=4, y=4)"


@pytest.fixture(scope="module")
def trained(command, tmp_path_factory):
    """A run on small sprites."""
    folder = tmp_path_factory.mktemp("runs") / "sprites"
    program = "VAE(latent_dim=4, hidden=(16,))"
    words = ("train", program, "--data", SMALL, "--steps", 20, "--out", folder)
    assert command(*words) == 0
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "sprites")


def test_it_prints_each_score_with_its_meaning_and_draws(folder, run):
    code, out, err = run("disentangle", folder, "--num-data", 200)
    assert code == 0, err
    for name in benchmark.SCORES:
        assert name in out
    assert (
        "0.20" in out and "by how much the best number" in out and "of 4 numbers of z dead" in out
    )
    found = json.loads((folder / "disentanglement.json").read_text())
    assert found["factors"] == ["shape", "scale", "orientation", "x", "y"]
    assert found["num_data"] == 38 and len(found["information"]) == 4
    assert set(benchmark.SCORES) <= set(found["scores"])
    assert all(0 <= score <= 1 for score in found["scores"].values())
    for picture in ("information", "traversal"):
        assert (folder / f"{picture}.png").stat().st_size > 1000


def test_data_without_known_factors_are_refused_in_a_sentence(a_run, run):
    code, _, err = run("disentangle", a_run)
    assert code == 2
    assert "the factors of digits are not known" in err and 'such as "sprites(size=32)"' in err


def test_other_sprites_of_the_same_size_may_be_named(folder, run):
    other = SMALL.replace("asymmetric=True", "asymmetric=False")
    code, out, err = run("disentangle", folder, "--data", other, "--split", "train")
    assert code == 0 and "train data" in out, err


def test_a_matrix_of_information_has_a_named_row_and_column_for_each():
    figure = plots.information(np.eye(2) / 3, ["z[0]", "z[1]"], ["hue", "size"], title="all of it")
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["z[0]", "z[1]"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["hue", "size"]
    assert [t.get_text() for t in ax.texts] == ["0.33", "0.00", "0.00", "0.33"]
    with pytest.raises(ValueError, match=r"shape \(2, 2\), but there are 1 codes and 2 factors"):
        plots.information(np.eye(2), ["z[0]"], ["hue", "size"])


# The comparison of losses.


def finished(folder, score):
    folder.mkdir(parents=True)
    scores = dict.fromkeys(benchmark.SCORES, score)
    found = {"scores": scores, "information": [[0.0]] * 10, "dead": [1, 2]}
    (folder / "disentanglement.json").write_text(json.dumps(found))
    (folder / "results.json").write_text(json.dumps({"bound": -50 - score, "rate": 10.0}))


def test_it_trains_what_is_not_done_and_goes_on_with_what_was_interrupted(tmp_path, monkeypatch):
    called = []

    def run(*words):
        folder = words[words.index("--out") + 1] if "--out" in words else words[-1]
        if words[0] == "disentangle":
            folder = words[1]
        called.append((words[0], folder.name, "--resume" in words))
        shutil.rmtree(folder, ignore_errors=True)
        finished(folder, 0.5)

    monkeypatch.setattr(benchmark, "_run", run)
    finished(tmp_path / "vae-0", 0.1)
    (tmp_path / "beta-vae-0").mkdir()
    (tmp_path / "beta-vae-0" / "checkpoint.pt").touch()
    finished(tmp_path / "factorvae-0", 0.3)
    (tmp_path / "factorvae-0" / "disentanglement.json").unlink()
    benchmark.main(["--out", str(tmp_path), "--seeds", "1"])
    assert called == [
        ("train", "beta-vae-0", True),
        ("train", "beta-tcvae-0", False),
        ("disentangle", "factorvae-0", False),
    ]
    assert "| VAE | 0.100 |" in (tmp_path / "table.md").read_text()


def test_the_table_has_means_and_standard_errors_over_seeds(tmp_path):
    for name in benchmark.LOSSES:
        for seed, score in enumerate((0.2, 0.3, 0.4)):
            finished(tmp_path / f"{name.lower()}-{seed}", score)
    header, _, *rows = benchmark.table(tmp_path, 3).splitlines()
    assert len(rows) == 4 and header.startswith("| 3 seeds each | MIG | DCI disentanglement |")
    assert rows[1].startswith("| beta-VAE | 0.300 ± 0.058 |")
    assert rows[1].endswith("| 8.0 ± 0.0 | -50.3 ± 0.1 | 10.0 ± 0.0 |")
