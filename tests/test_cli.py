"""The command line, as a user types it: what it writes, goes on with, and refuses."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import pyro_vae
from pyro_vae import load
from pyro_vae.datasets import digits

from .test_text import FUNCTIONS

SMALL = "VAE(latent_dim=2, hidden=(16,))"  # as in the fixture `trained`


def is_picture(path):
    with Image.open(path) as picture:
        return picture.format == "PNG" and picture.width > 100 and np.asarray(picture).std() > 5


def test_train_writes_a_run_folder_and_ends_with_the_test_bound(run, tmp_path):
    code, out, _ = run("train", SMALL, "--epochs", 2, "--out", "runs/a", "--seed", 3)
    assert code == 0
    assert "bound" in out and "runs/a/samples.png" in out
    folder = tmp_path / "runs" / "a"
    for name in ("samples", "reconstructions", "curves"):
        assert is_picture(folder / f"{name}.png")
    config = json.loads((folder / "config.json").read_text())
    assert (config["program"], config["data"], config["seed"]) == (SMALL, "digits", 3)
    assert config["versions"]["torch"] == torch.__version__
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    results = json.loads((folder / "results.json").read_text())
    assert results["bound"] == pytest.approx(-results["rate"] - results["distortion"], rel=1e-5)
    torch.load(folder / "checkpoint.pt", weights_only=True)


def test_load_gives_the_trained_program_back(trained, tmp_path):
    program = pyro_vae.load("a")
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    from pyro_vae.app.results import evaluation
    from pyro_vae.datasets import digits

    again = evaluation(program, digits().test)
    assert again["bound"] == pytest.approx(results["bound"], abs=0.3)  # other draws
    assert results["bound"] > -44  # 64 log 2 = 44.4 before any training


@pytest.mark.parametrize(
    "words, picture",
    [
        (["sample", "a", "-n", 9], "samples.png"),
        (["sample", "a", "--draw", "--out", "b/c.png"], None),
        (["reconstruct", "a", "--split", "train"], "reconstructions.png"),
        (["interpolate", "a", "--pair", "3,17", "--pair", "0,1"], "interpolation.png"),
        (["manifold", "a", "--columns", 5], "manifold.png"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_pictures_of_a_run(trained, tmp_path, words, picture):
    code, out, _ = trained(*words)
    assert code == 0
    path = tmp_path / "a" / picture if picture else tmp_path / "b" / "c.png"
    assert is_picture(path) and path.name in out


def test_reconstruct_prints_the_errors_of_all_data_that_were_asked_for(trained):
    code, out, _ = trained("reconstruct", "a", "-n", 300)
    said = re.search(r"300 test data: absolute error (\S+) a pixel, PSNR (\S+) dB", out)
    assert code == 0 and said
    x = digits().test.x
    made = pyro_vae.inference.reconstruct(pyro_vae.load("a"), x)
    # of other draws of z: means of 19,200 pixels
    assert float(said[1]) == pytest.approx((x - made).abs().mean().item(), rel=0.02)
    decibels = -10 * (x - made).square().mean((1, 2, 3)).log10()
    assert float(said[2]) == pytest.approx(decibels.mean().item(), rel=0.02)


def test_evaluate_prints_bound_rate_distortion_and_likelihood(trained, tmp_path):
    code, out, _ = trained("evaluate", "a", "--num-particles", 20, "--limit", 30)
    assert code == 0
    assert all(word in out for word in ("bound", "rate", "distortion", "log_likelihood"))
    results = json.loads((tmp_path / "a" / "evaluation-test.json").read_text())
    assert results["num_data"] == 30 and results["num_particles"] == 20
    assert results["log_likelihood"] > results["bound"]
    assert 0 < results["log_likelihood_error"] < 5


def test_a_latent_of_more_dimensions_is_shown_as_a_scatter(run, tmp_path):
    run("train", "VAE(latent_dim=3, hidden=(8,))", "--steps", 1, "--out", "a")
    assert run("manifold", "a")[0] == 0
    assert is_picture(tmp_path / "a" / "manifold.png")


def weights(folder):
    return pyro_vae.load(folder).state_dict()


def test_a_resumed_run_is_the_run_that_went_through(run, tmp_path):
    run("train", SMALL, "--epochs", 4, "--out", "whole")
    run("train", SMALL, "--epochs", 2, "--out", "half")
    code, out, _ = run("train", "--resume", "half", "--epochs", 4)
    assert code == 0 and "bound" in out
    whole, half = weights("whole"), weights("half")
    assert all(torch.equal(value, half[name]) for name, value in whole.items())
    records = (tmp_path / "half" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(record)["epoch"] for record in records] == [1, 2, 3, 4]


def test_the_same_command_again_does_nothing_and_says_so(trained, tmp_path):
    before = (tmp_path / "a" / "weights.safetensors").stat().st_mtime_ns
    code, out, _ = trained("train", SMALL, "--epochs", 2, "--out", "a")
    assert code == 0 and "finished" in out and "bound" in out
    assert (tmp_path / "a" / "weights.safetensors").stat().st_mtime_ns == before


def test_without_out_each_run_has_a_folder_of_its_own(run, tmp_path):
    for _ in range(2):
        run("train", SMALL, "--steps", 1)
    assert sorted(os.listdir(tmp_path / "runs")) == ["vae-digits", "vae-digits-2"]


def test_a_users_file_is_checked_trained_sampled_and_resumed(run, tmp_path):
    (tmp_path / "mine.py").write_text(
        FUNCTIONS.replace("(16, 4)", "(64, 4)")
        .replace("(2, 16)", "(2, 64)")
        .replace("1, 4, 4", "1, 8, 8")
    )
    code, out, err = run("check", "mine.py")
    assert code == 0 and "Bernoulli" in out, err
    assert run("train", "mine.py", "--steps", 1, "--out", "a")[0] == 0
    (tmp_path / "mine.py").write_text("changed = True")  # the run has its own copy
    assert run("train", "--resume", "a", "--steps", 2)[0] == 0
    assert run("sample", "a")[0] == 0
    assert "pyro_params.sharp" in weights("a")


def test_losses_schedules_optimizers_and_clipping_are_options(run, tmp_path):
    code, _, err = run(
        "train", SMALL, "--epochs", 2, "--out", "a",
        "--loss", "TraceMeanField_ELBO(beta=linear(0, 1, 20), free_bits=0.1)",
        "--optim", "Adamax({'lr': 1e-3})", "--lr-schedule", "warm_up(5, cosine(1, 0, 17))",
        "--clip-norm", 10, "--batch-size", 64,
    )  # fmt: skip
    assert code == 0, err
    record = json.loads((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["beta"] == 1


def test_tensorboard_events_are_an_option(run, tmp_path):
    pytest.importorskip("tensorboard")
    assert run("train", SMALL, "--epochs", 1, "--out", "a", "--tensorboard")[0] == 0
    assert list((tmp_path / "a" / "tensorboard").iterdir())


def test_check_prints_the_sites(run):
    code, out, _ = run("check", SMALL)
    assert code == 0
    assert all(word in out for word in ("z", "latent", "Normal", "data (128)", "parameters"))


def test_list_shows_what_there_is(run):
    code, out, _ = run("list")
    assert code == 0 and all(name in out for name in ("VAE", "Trace_ELBO", "digits", "linear"))
    code, out, _ = run("list", "data")
    assert code == 0 and "mnist" in out and "Trace_ELBO" not in out


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["train", "VEA"], "did you mean 'VAE'"),
        (["train", "VAE", "--loss", "Trace_ELB"], "did you mean 'Trace_ELBO'"),
        (["train", "VAE", "--data", "digit"], "did you mean 'digits'"),
        (["train", "VAE(latent_dim=[i for i in 'a'])"], "neither a literal nor a call"),
        (["train", "VAE", "--optim", "Adam(1e-3)"], "Adam cannot be built|optim_args"),
        (["train", "VAE", "--optim", "Adam({'lr': -1})"], "cannot be used: Invalid learning rate"),
        (["train", "VAE", "--lr", "-1"], "--lr must be positive and finite, but is -1"),
        (["train", "VAE", "--lr", "nan"], "--lr must be positive and finite, but is nan"),
        (["train", "VAE", "--lr", "1", "--optim", "Adam({'lr': 1})"], "not both"),
        (["train", "VAE", "--clip-norm=-1"], "clip_norm must be positive"),
        (["train", "VAE", "--lr-schedule", "constant('a')"], "gives no number"),
        (["train", "VAE", "--lr-schedule", "linear(1, -1, 3)"], "is -1.0 at step"),
        (["train", "VAE", "--loss", "Trace_ELBO(beta=linear)"], "Trace_ELBO"),
        (["train", "VAE(latent_dim=1000000000000)"], "cannot be built"),
        (["train", "VAE", "--device", "meta"], "no device 'meta'"),
        (["train", "VAE", "--out", "empty.npy/sub"], "empty.npy"),
        (["train", "VAE", "--device", "abacus"], "no device 'abacus'"),
        (["train"], "name a program"),
        (["train", "VAE", "--epochs", 1, "--steps", 1], "not both"),
        (
            ["train", "VAE(likelihood=Bernoulli)", "--data", "digits(binarize=None)"],
            "binarize",
        ),
        (["train", "VAE", "--data", "mnist"], "MNIST"),
        (["train", "VAE", "--data", "arrays('missing.npy')"], "no file missing.npy"),
        (["train", "VAE", "--data", "arrays('empty.npy')"], "empty"),
        (["train", "VAE", "--data", "arrays('truncated.npy')"], "cannot be read"),
        (["train", "VAE", "--data", "arrays('nan.npy')"], "NaN"),
        (["train", "VAE", "--data", "arrays('flat.npy')"], r"shape \(5,\)"),
        (["train", "nowhere.py"], "no file nowhere.py"),
        (["evaluate", "nowhere"], "holds no run"),
        (["list", "everything"], "no kind 'everything'"),
    ],
    ids=lambda words: " ".join(map(str, words))[:45] if isinstance(words, list) else "",
)
def test_bad_input_gets_one_sentence_exit_code_2_and_leaves_nothing(run, tmp_path, words, sentence):
    (tmp_path / "empty.npy").touch()
    (tmp_path / "truncated.npy").write_bytes(b"\x93NUMPY\x01\x00")
    np.save(tmp_path / "nan.npy", np.full((9, 4), np.nan, np.float32))
    np.save(tmp_path / "flat.npy", np.zeros(5, np.float32))
    files = sorted(os.listdir(tmp_path))
    code, _, err = run(*words)
    assert code == 2
    assert err.count("\n") == 1 and "Traceback" not in err
    assert re.search(sentence, err)
    assert sorted(os.listdir(tmp_path)) == files


def test_the_folder_of_another_run_is_not_touched(trained, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    code, _, err = trained("train", "VAE(latent_dim=3)", "--out", "a")
    assert code == 2 and "a holds another run" in err and "--resume a" in err
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()} == before


def test_a_folder_of_something_else_is_not_touched(run, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("x")
    code, _, err = run("train", SMALL, "--out", "a")
    assert code == 2 and "holds no run" in err
    assert os.listdir(tmp_path / "a") == ["thesis.tex"]


@pytest.mark.parametrize(
    "name, content, words, sentence",
    [
        ("config.json", "{", ["sample", "a"], "config.json is damaged"),
        ("config.json", "{}", ["sample", "a"], "config.json is damaged: it lacks"),
        ("weights.safetensors", "no", ["sample", "a"], "weights.safetensors is damaged"),
        ("weights.safetensors", None, ["sample", "a"], "holds no weights"),
        ("checkpoint.pt", "no", ["train", "--resume", "a"], "checkpoint.pt is damaged"),
        ("config.json", '{"known": 3}', ["sample", "a"], "config.json is damaged"),
        (
            "results.json",
            "no",
            ["train", SMALL, "--epochs", 2, "--out", "a"],
            "results.json is dam",
        ),
        ("config.json", None, ["train", "--resume", "a"], "holds no run"),
    ],
)
def test_a_damaged_run_folder_is_named(trained, tmp_path, name, content, words, sentence):
    path = tmp_path / "a" / name
    path.unlink() if content is None else path.write_text(content)
    code, _, err = trained(*words)
    assert code == 2 and sentence in err and err.count("\n") == 1


def test_resuming_takes_no_other_definition(trained):
    code, _, err = trained("train", "--resume", "a", "--loss", "Trace_ELBO(beta=2)")
    assert code == 2 and "'loss' cannot be given beside it" in err


def test_data_of_another_shape_do_not_fit_a_run(trained, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((9, 5), np.float32))
    code, _, err = trained("evaluate", "a", "--data", "arrays('x.npy')")
    assert code == 2 and "do not fit a" in err


@pytest.mark.parametrize("pair", ["1", "1,2,3", "one,two", "0,300", "-1,0"])
def test_pairs_that_are_none_are_refused(trained, pair):
    code, _, err = trained("interpolate", "a", f"--pair={pair}")
    assert code == 2 and "--pair" in err and err.count("\n") == 1


def test_a_loss_that_becomes_nan_names_the_step_and_keeps_the_last_good_epoch(run, tmp_path):
    run("train", SMALL, "--epochs", 1, "--out", "a", "--optim", "SGD({'lr': 1e-4})")
    shutil.copytree("a", "b")
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    config["optim"] = "SGD({'lr': 1e30})"
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    before = (tmp_path / "b" / "checkpoint.pt").read_bytes()
    code, _, err = run("train", "--resume", "b", "--epochs", 3)
    assert code == 2 and "at step 12" in err and "site" in err and "b" in err
    assert (tmp_path / "b" / "checkpoint.pt").read_bytes() == before
    assert all(value.isfinite().all() for value in weights("b").values())


def test_help_imports_no_torch():
    code = "import sys; from pyro_vae.app import cli; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_a_run_that_was_killed_before_its_first_epoch_begins_again(trained, tmp_path):
    for name in ("checkpoint.pt", "weights.safetensors", "results.json"):
        (tmp_path / "a" / name).unlink()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert trained("train", SMALL, "--epochs", 2, "--out", "a")[0] == 0
    assert trained("train", "--resume", "b")[0] == 0
    one, other = weights("a"), weights("b")
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_resuming_to_fewer_epochs_is_refused_and_changes_nothing(trained, tmp_path):
    before = (tmp_path / "a" / "config.json").read_bytes()
    code, _, err = trained("train", "--resume", "a", "--epochs", 1)
    assert code == 2 and "has taken 22 steps already" in err
    code, _, err = trained("train", "--resume", "a", "--epochs", 3, "--steps", 3)
    assert code == 2 and "not both" in err
    assert (tmp_path / "a" / "config.json").read_bytes() == before


HELPED = """
import pyro
from nets_beside import VAE as Base


class VAE(Base):
    pass
"""


def test_files_beside_a_users_file_go_into_the_run(run, tmp_path):
    (tmp_path / "mine.py").write_text(HELPED)
    (tmp_path / "nets_beside.py").write_text("from pyro_vae.models import VAE")
    assert run("train", "mine.py:VAE(hidden=(8,))", "--steps", 1, "--out", "a")[0] == 0
    (tmp_path / "nets_beside.py").unlink()
    code, _, err = run("sample", "a")
    assert code == 0, err


def test_a_file_that_changed_is_another_program(run, tmp_path):
    (tmp_path / "mine.py").write_text(HELPED.replace("nets_beside", "pyro_vae.models"))
    words = ("train", "mine.py:VAE(hidden=(8,))", "--steps", 1, "--out", "a")
    assert run(*words)[0] == 0
    assert "nothing to do" in run(*words)[1]
    with open(tmp_path / "mine.py", "a") as file:
        file.write("# changed")
    code, _, err = run(*words)
    assert code == 2 and "mine.py has changed" in err


AUTOGUIDE = """
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal


def model(x):
    loc = pyro.sample("loc", dist.Normal(torch.zeros(64), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(logits=loc.reshape(1, 8, 8)).to_event(3), obs=x)


guide = AutoNormal(model)
"""


def test_autoguides_whose_parameters_come_late_are_saved_and_loaded(run, tmp_path):
    (tmp_path / "auto.py").write_text(AUTOGUIDE)
    code, out, err = run("train", "auto.py", "--epochs", 2, "--out", "a")
    assert code == 0 and "bound" in out, err
    assert any("locs" in name for name in weights("a"))
    assert run("train", "--resume", "a", "--epochs", 3)[0] == 0


def test_a_run_is_evaluated_from_anywhere(run, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((60, 5)) < 0.5)
    words = ("train", "VAE(2, hidden=(8,))", "--data", "arrays('x.npy')", "--steps", 1)
    assert run(*words, "--out", "a")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, err = run("evaluate", "../a", "--num-particles", 5)
    assert code == 0, err


def test_help_shows_the_defaults(run):
    code, out, _ = run("train", "--help")
    assert code == 0 and "[default:runs/PROGRAM-DATA]" in "".join(out.split())


def test_ctrl_c_saves_and_the_run_goes_on(long_training, tmp_path):
    process = long_training(SMALL, "--out", "a")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert "pyro-vae train --resume a" in (tmp_path / "printed").read_text()
    state = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert state["fit"]["svi"]["steps"] > 0


ENUM = ("--loss", "TraceEnum_ELBO(max_plate_nesting=1)")


@pytest.mark.parametrize(
    "program, options",
    [
        ("Autoencoder(hidden=(16,))", ()),
        ("BayesianVAE(latent_dim=2, hidden=(16,))", ()),
        ("ConditionalVAE(latent_dim=2, prior=DiagonalNormal(2), hidden=(16,))", ()),
        ("DeepMarkovModel(latent_dim=2, rnn_dim=8)", ("--data", "digit_columns(ragged=True)")),
        ("GaussianMixtureVAE(latent_dim=2, hidden=(16,))", ENUM),
        ("HVAE(latent_dims=(4, 2), hidden=(16, 16))", ()),
        ("LadderVAE(latent_dims=(4, 3, 2), hidden=(16,))", ("--loss", "TraceMeanField_ELBO()")),
        ("HierarchicalVAE(latent_dims=(4, 3, 2), hidden=(16,))", ("--loss", "IWAE(5)")),
        ("LinearGaussian(latent_dim=2)", ("--data", "digits(binarize=None)")),
        ("SemiSupervisedVAE(latent_dim=2, hidden=(16,))", ("--data", "digits(labels=100)", *ENUM)),
        ("VAE(latent_dim=2, prior=VampPrior(2, components=8), likelihood=Normal())", ()),
        ("VAE(latent_dim=2, prior=Laplace(2), posterior=InverseAutoregressiveFlow(2))", ()),
        (
            "VAE(latent_dim=2, encoder=partial(ConvEncoder, channels=(4, 8)), decoder=GatedMLP)",
            ("--data", "digits(binarize=None)", "--bfloat16"),
        ),
    ],
)
def test_every_program_trains_by_name_with_its_parts_swapped(program, options, run, tmp_path):
    words = ("--epochs", 1, "--no-compile", "--out", "runs/a")  # graphs have tests of their own
    code, out, err = run("train", program, *words, *options)
    assert (code, err) == (0, ""), err
    assert "bound" in out
    # A guide of points, or of weights that all data share, gives no datum a likelihood.
    refused = program.startswith(("Autoencoder", "BayesianVAE"))
    assert run("evaluate", "runs/a", "--num-particles", 5, "--limit", 20)[0] == 2 * refused


def test_a_semi_supervised_program_is_evaluated_by_the_labels_it_finds(run, tmp_path):
    program = "SemiSupervisedVAE(latent_dim=2, hidden=(16,))"
    options = ("--data", "digits(labels=100)", "--epochs", 3, "--out", "a", *ENUM)
    code, out, _ = run("train", program, *options)
    assert code == 0 and "accuracy" in out
    assert run("evaluate", "a", "--num-particles", 5)[0] == 0
    results = json.loads((tmp_path / "a" / "evaluation-test.json").read_text())
    data, program = digits(), load(tmp_path / "a")
    right = (program.classify(data.test.x).argmax(1) == data.test.y).double()
    assert results["accuracy"] == pytest.approx(right.mean().item())
    assert results["accuracy_error"] == pytest.approx(right.std().item() / len(right) ** 0.5)


def test_samples_of_a_conditional_program_have_one_row_a_label_or_one_label(run, tmp_path):
    run("train", "ConditionalVAE(latent_dim=2, hidden=(16,))", "--steps", 1, "--out", "a")
    assert run("sample", "a", "--num", 20, "--out", "rows.png")[0] == 0
    assert run("sample", "a", "--label", 3, "--out", "threes.png")[0] == 0
    for name in ("rows", "threes"):
        assert is_picture(tmp_path / f"{name}.png")
    for verb in ("reconstruct", "interpolate", "manifold"):
        assert run(verb, "a")[0] == 0
    code, _, err = run("sample", "a", "--label", 10)
    assert code == 2 and "labels are 0 to 9" in err


def test_arithmetic_adds_what_data_of_a_label_have(trained, tmp_path):
    assert trained("arithmetic", "a", "--label", 3)[0] == 0
    assert is_picture(tmp_path / "a" / "arithmetic.png")
    code, _, err = trained("arithmetic", "a", "--label", 12)
    assert code == 2 and "with and without the attribute" in err
    code, _, err = trained("arithmetic", "a", "--weights", "much")
    assert code == 2 and "--weights takes numbers" in err


def test_the_natural_likelihood_of_the_data_is_the_default_and_is_remembered(run, tmp_path):
    run("train", SMALL, "--data", "digits(binarize=None)", "--epochs", 1, "--out", "a")
    assert type(pyro_vae.load("a").likelihood).__name__ == "Binomial"
    assert pyro_vae.load("a").likelihood.total_count == 16
