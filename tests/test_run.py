"""Run folders: nothing that they know is lost, by resuming, judging, a full disk or two at once."""

import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from pyro.infer import RenyiELBO, TraceEnum_ELBO

import pyro_vae
from pyro_vae.app import text, writing
from pyro_vae.app.lock import locked
from pyro_vae.app.objective import objective, summed_out
from pyro_vae.app.run import Run
from pyro_vae.datasets import digits
from pyro_vae.inference import SVI, Trace_ELBO, linear
from pyro_vae.models import VAE

SMALL = "VAE(latent_dim=2, hidden=(8,))"
ARRAYS = ("--data", "arrays('x.npy')")


@pytest.fixture(scope="module")
def a_run_on_arrays(command, tmp_path_factory):
    """A folder with a user's own array, and a run on it in the folder a."""
    folder = tmp_path_factory.mktemp("here")
    np.save(folder / "x.npy", np.random.default_rng(0).random((60, 6)))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        assert command("train", SMALL, *ARRAYS, "--epochs", 1, "--out", "a") == 0
    return folder


@pytest.fixture
def trained(run, a_run_on_arrays, tmp_path):
    """As `run`, in a folder with such an array and run, as if it had been trained there."""
    shutil.copytree(a_run_on_arrays, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "a" / "config.json"
    path.write_text(path.read_text().replace(str(a_run_on_arrays), str(tmp_path)))
    return run


def config(tmp_path):
    return json.loads((tmp_path / "a" / "config.json").read_text())


def test_what_a_run_knew_stays_when_it_is_resumed(trained, tmp_path, monkeypatch):
    before = config(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert trained("train", "--resume", "../a", "--epochs", 2)[0] == 0
    after = config(tmp_path)
    changes = {"epochs": [1, 2], "directory": [str(tmp_path), str(tmp_path / "elsewhere")]}
    assert after == before | {"epochs": 2, "resumed": [changes]}
    os.remove(tmp_path / "x.npy")
    assert trained("sample", "../a")[0] == 0
    assert type(pyro_vae.load("../a").likelihood).__name__ == "ContinuousBernoulli"


def test_what_an_earlier_version_lost_comes_back_from_the_data(trained, tmp_path):
    found = config(tmp_path)
    found["known"]["likelihood"] = None
    (tmp_path / "a" / "config.json").write_text(json.dumps(found))
    assert trained("train", "--resume", "a", "--epochs", 2)[0] == 0
    assert config(tmp_path)["known"]["likelihood"] == "ContinuousBernoulli()"


def test_data_that_have_moved_are_asked_for_and_taken(trained, tmp_path):
    (tmp_path / "far").mkdir()
    os.rename(tmp_path / "x.npy", tmp_path / "far" / "x.npy")
    code, _, err = trained("train", "--resume", "a", "--epochs", 2)
    assert code == 2 and "are not there any more" in err and "--data" in err
    code, _, err = trained("evaluate", "a")
    assert code == 2 and "are not there any more" in err
    moved = ("--data", "arrays('far/x.npy')")
    assert trained("train", "--resume", "a", "--epochs", 2, *moved)[0] == 0
    assert config(tmp_path)["data"] == "arrays('far/x.npy')"
    assert trained("train", "--resume", "a", "--epochs", 3)[0] == 0  # and is remembered


def test_a_run_does_not_go_on_with_other_data(trained, tmp_path):
    before = config(tmp_path)
    np.save(tmp_path / "y.npy", np.random.default_rng(0).random((70, 6)))
    code, _, err = trained("train", "--resume", "a", "--epochs", 2, "--data", "arrays('y.npy')")
    assert code == 2 and "num_data was" in err and err.count("\n") == 1
    assert config(tmp_path) == before


def test_a_data_dir_is_seen_from_where_it_is_given(trained, tmp_path, monkeypatch):
    seen = []
    read = lambda text, data_dir=None: seen.append(data_dir) or digits()  # noqa: E731
    monkeypatch.setattr("pyro_vae.app.run.read_data", read)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Run(tmp_path / "a").data(data_dir="files")
    assert seen == [str(tmp_path / "elsewhere" / "files")]


def test_whether_to_compile_is_remembered(run, tmp_path, monkeypatch):
    from pyro_vae.app import train

    asked, fit = [], train.fit

    def spy(*args, compile, **options):
        asked.append(compile)
        return fit(*args, compile=compile, **options)

    monkeypatch.setattr(train, "fit", spy)
    assert run("train", SMALL, "--epochs", 1, "--out", "a", "--no-compile")[0] == 0
    assert run("train", "--resume", "a", "--epochs", 2)[0] == 0
    assert asked == [False, False]
    # It changes the speed alone, so it makes no other run.
    assert "nothing to do" in run("train", SMALL, "--epochs", 2, "--out", "a")[1]


def test_evaluations_of_other_data_or_settings_have_files_of_their_own(trained, tmp_path):
    np.save(tmp_path / "y.npy", np.random.default_rng(1).random((60, 6)))
    words = ("evaluate", "a", "--num-particles", 2)
    for more in ((), ("--limit", 3), ("--data", "arrays('y.npy')"), ("--limit", 3), ()):
        assert trained(*words, *more)[0] == 0
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "a").glob("evaluation*"))]
    assert [(r["data"], r["num_data"]) for r in found] == [
        ("as trained on", 3),
        ("arrays('y.npy')", 6),
        ("as trained on", 6),
    ]


def test_an_evaluation_is_printed_and_written_on_a_terminal_of_ascii(trained, tmp_path):
    words = ["-m", "pyro_vae", "evaluate", "a", "--num-particles", "2"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, env=ascii_only
    )
    assert done.returncode == 0, done.stderr
    assert b"+- " in done.stdout and b"bound" in done.stdout and done.stdout.isascii()
    assert (tmp_path / "a" / "evaluation-test.json").exists()


def test_an_evaluation_is_written_before_it_is_printed(trained, tmp_path, monkeypatch):
    def fail(*_):
        raise BrokenPipeError(errno.EPIPE, "gone")

    monkeypatch.setattr("pyro_vae.app.commands.evaluate.print_table", fail)
    assert trained("evaluate", "a", "--num-particles", 2)[0] == 1
    assert (tmp_path / "a" / "evaluation-test.json").exists()


def test_two_trainings_do_not_write_into_one_folder(trained, tmp_path):
    before = {p: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    with locked(tmp_path / "a"), locked(tmp_path / "b"):
        for words in (("--resume", "a", "--epochs", 2), (SMALL, *ARRAYS, "--out", "b")):
            code, _, err = trained("train", *words)
            assert code == 2 and "another training is writing into" in err
            assert err.count("\n") == 1
    assert {p: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before
    assert os.listdir(tmp_path / "b") == [".lock"]


def test_a_training_that_was_killed_leaves_no_lock_behind(long_training, tmp_path, run):
    process = long_training(SMALL, "--out", "a", "--no-compile")
    code, _, err = run("train", "--resume", "a")
    process.kill()
    process.wait()
    assert code == 2 and "another training is writing into a" in err
    # The checkpoint is whole, whenever the process was killed.
    done = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)["fit"]["svi"]["steps"]
    assert run("train", "--resume", "a", "--steps", done + 1)[0] == 0


def test_a_folder_that_another_process_filled_meanwhile_is_left_alone(run, monkeypatch, tmp_path):
    from pyro_vae.app import session

    prepare = session.prepare

    def while_another_trains(config, device):
        found = prepare(config, device)
        monkeypatch.setattr(session, "prepare", prepare)
        assert run("train", SMALL, "--epochs", 1, "--out", "a")[0] == 0
        return found

    monkeypatch.setattr(session, "prepare", while_another_trains)
    code, out, _ = run("train", SMALL, "--epochs", 1, "--out", "a")
    assert code == 0 and "nothing to do" in out


def full_after(monkeypatch, files):
    """A disk on which no more than so many files find room, and then half of one."""
    written = []

    def fsync(_):
        written.append(1)
        if len(written) > files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.os, "fsync", fsync)


@pytest.mark.parametrize("files", [1, 2, 3])
def test_a_full_disk_is_a_sentence_and_leaves_the_last_checkpoint_whole(
    trained, tmp_path, monkeypatch, files
):
    before = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    weights = (tmp_path / "a" / "weights.safetensors").read_bytes()
    with monkeypatch.context() as patched:
        full_after(patched, files)
        code, _, err = trained("train", "--resume", "a", "--epochs", 2)
    assert code == 2 and err.count("\n") == 1
    assert "No space left on device" in err and "the last good epoch is kept in a" in err
    after = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    # The first file is the configuration, the second the checkpoint of the second epoch.
    assert after["fit"]["progress"]["epoch"] == before["fit"]["progress"]["epoch"] + (files > 1)
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == weights
    assert not list((tmp_path / "a").glob(".*.new"))
    assert trained("train", "--resume", "a", "--epochs", 3)[0] == 0


def test_a_full_disk_at_the_first_epoch_leaves_nothing(run, tmp_path, monkeypatch):
    full_after(monkeypatch, 1)
    code, _, err = run("train", SMALL, "--epochs", 1, "--out", "a")
    assert code == 2 and "a/checkpoint.pt cannot be read or written: No space left" in err
    assert "nothing is kept" in err and not (tmp_path / "a").exists()


def test_a_training_says_its_steps_and_what_each_costs(run):
    _, out, _ = run("train", SMALL, "--epochs", 2, "--out", "a")
    assert "22 steps of 128 data: 2 epochs of 11 steps" in out
    assert "22 steps (captured) in " in out and " ms a step" in out


SUMMED = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn

logits = nn.Parameter(torch.tensor([[-0.5], [1.0]]).expand(2, 64).clone())


def model(x):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Bernoulli(0.25), infer={"enumerate": "parallel"}).long()
        images = logits[y].reshape(*y.shape, 1, 8, 8)
        pyro.sample("x", dist.Bernoulli(logits=images).to_event(3), obs=x)


def guide(x):
    pass
"""


def exact_evidence(program, x):
    """log sum_y p(y) p(x | y), by hand."""
    logits = program.state_dict()["parameters_.logits"].reshape(2, 1, 1, 8, 8)
    log_px = torch.distributions.Bernoulli(logits=logits).log_prob(x).sum((-1, -2, -3))
    return (log_px + torch.tensor([0.75, 0.25]).log().unsqueeze(-1)).logsumexp(0)


def test_a_loss_that_sums_latents_out_is_the_bound_at_the_end(run, tmp_path):
    (tmp_path / "summed.py").write_text(SUMMED)
    loss = ("--loss", "TraceEnum_ELBO(max_plate_nesting=1)")
    code, _, err = run("train", "summed.py", *loss, "--epochs", 1, "--out", "a")
    assert code == 0, err
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    exact = exact_evidence(pyro_vae.load("a"), digits().test.x).mean().item()
    assert results["bound"] == pytest.approx(exact, rel=1e-4)


def test_what_is_no_bound_is_not_called_one(run, tmp_path):
    (tmp_path / "summed.py").write_text(SUMMED)
    program, data = pyro_vae.load("summed.py"), digits()
    assert summed_out(program, data.test) == ["y"]
    assert "bound" in objective(program, TraceEnum_ELBO(max_plate_nesting=1), data.test, 1)
    vae = VAE((1, 8, 8), 2)
    assert summed_out(vae, data.test) == []
    assert "bound" in objective(vae, Trace_ELBO(beta=linear(0, 1, 10)), data.test, 10)
    for loss in (RenyiELBO(num_particles=2), Trace_ELBO(beta=4), Trace_ELBO(beta=linear(0, 1, 10))):
        found = objective(vae, loss, data.test, 9)
        assert "objective" in found and "bound" not in found


def test_a_program_that_cannot_be_evaluated_is_no_reason_to_call_the_loss_a_bound(
    trained, monkeypatch
):
    def refuse(*_, **__):
        raise ValueError("no rate")

    monkeypatch.setattr("pyro_vae.app.results.evaluate", refuse)
    words = ("train", SMALL, *ARRAYS, "--epochs", 1)
    code, out, _ = trained(*words, "--loss", "Trace_ELBO(beta=4)", "--out", "b")
    assert code == 0 and "objective" in out and "bound" not in out
    assert "no rate and no distortion: no rate" in out


@pytest.mark.parametrize("words", [("VAE(2, hidden=(8,))", "--out", "a"), ("--resume", "b")])
def test_a_training_reads_each_text_once_and_makes_one_svi(run, monkeypatch, words):
    options = ("--loss", "IWAE(2)", "--lr-schedule", "linear(1, 0, 22)", "--epochs", 2)
    if "--resume" in words:
        assert run("train", "VAE(2, hidden=(8,))", *options, "--out", "b")[0] == 0
        options = ("--epochs", 3)
    read, made, build, init = [], [], text.build, SVI.__init__
    spy = lambda kind, *rest, **names: read.append(kind) or build(kind, *rest, **names)  # noqa: E731
    monkeypatch.setattr(text, "build", spy)
    monkeypatch.setattr(
        SVI, "__init__", lambda svi, *a, **k: made.append(svi) or init(svi, *a, **k)
    )
    code, _, err = run("train", *words, *options)
    assert code == 0, err
    assert sorted(read) == ["data", "losses", "optimizers", "programs", "schedules"]
    assert len(made) == 1
