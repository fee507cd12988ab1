"""What the command line says of errors: one sentence, with the user's line, and all if asked."""

import json
import re

import numpy as np
import pytest

from pyro_vae.app.errors import stop

LABELLED = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn

encoder, decoder = nn.Linear(4 + 3, 2 * 2), nn.Linear(2 + 3, 4)


def model({parameters}):
    c = torch.eye(3)[{y}]
    with pyro.plate("data", len({x})):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        loc = decoder(torch.cat([z, c.expand(*z.shape[:-1], 3)], -1)){broken}
        pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs={x})


def guide({parameters}):
    loc, log_scale = encoder(torch.cat([{x}, torch.eye(3)[{y}]], -1)).chunk(2, -1)
    with pyro.plate("data", len({x})):
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
"""


def labelled(parameters="x, y", x="x", y="y", broken=""):
    return LABELLED.format(parameters=parameters, x=x, y=y, broken=broken)


@pytest.fixture
def data(tmp_path):
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(60) % 3)
    return ("--data", "arrays('d.npz')")


@pytest.mark.parametrize(
    "names",
    [{}, {"parameters": "y, x"}, {"parameters": "xs, ys=None", "x": "xs", "y": "ys"}],
    ids=["by name", "in another order", "by position"],
)
def test_a_file_of_functions_with_labels_does_all_that_a_program_does(run, tmp_path, data, names):
    (tmp_path / "mine.py").write_text(labelled(**names))
    code, out, err = run("check", "mine.py", *data)
    assert code == 0 and "latent" in out, err
    assert run("train", "mine.py", *data, "--epochs", 1, "--out", "a")[::2] == (0, "")
    assert run("train", "--resume", "a", "--epochs", 2)[0] == 0
    for words in (("evaluate", "--num-particles", 2), ("sample",), ("sample", "--label", 2),
                  ("reconstruct",), ("interpolate",), ("manifold",)):  # fmt: skip
        code, _, err = run(words[0], "a", *words[1:])
        assert (code, err) == (0, ""), words


@pytest.mark.parametrize(
    "text, sentence",
    [
        (labelled(broken=".nothing"), r"mine.py:14"),
        (labelled(broken="[:, 9]"), r"mine.py:14"),
        (
            labelled().replace("def guide(x, y)", "def guide(y, x)"),
            r"model\(x, y\) but guide\(y, x\)",
        ),
        (labelled().replace("def guide(x, y)", "def guide(x)"), r"model\(x, y\) but guide\(x\)"),
        (labelled("x, *, y"), "takes y by keyword only"),
        (labelled("x, y, z"), r"needs z too"),
        (labelled()[:-30] + "(", r"mine.py does not run: line \d+: SyntaxError"),
    ],
)
def test_what_is_wrong_in_a_users_file_is_one_sentence_with_its_line(
    run, tmp_path, data, text, sentence
):
    (tmp_path / "mine.py").write_text(text)
    for verb in ("check", "train"):
        code, _, err = run(verb, "mine.py", *data)
        assert code == 2 and err.count("\n") == 1 and re.search(sentence, err), err


def test_labels_that_lack_are_asked_for(run, tmp_path):
    (tmp_path / "mine.py").write_text(labelled())
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((60, 4)))
    code, _, err = run("train", "mine.py", "--data", "arrays('x.npy')")
    assert code == 2 and "so it needs labels y too" in err and err.count("\n") == 1


LATE = (
    labelled(broken=" / late(x)")
    + """
runs = []


def late(x):
    runs.append(x)
    if len(runs) > 8:
        raise LookupError("too many runs")
    return 1
"""
)


def test_an_error_late_in_a_training_names_the_users_line_and_traceback_shows_all(
    run, tmp_path, data
):
    (tmp_path / "mine.py").write_text(LATE)
    line = 1 + LATE.splitlines().index('        raise LookupError("too many runs")')
    words = ("train", "mine.py", *data, "--epochs", 50, "--no-compile")
    code, _, err = run(*words)
    assert code == 2 and err.splitlines()[-1] == (
        f"pyro-vae: mine.py:{line}: LookupError: too many runs; --traceback shows all"
    )
    assert "Traceback" not in err
    for position in (0, len(words)):
        code, _, err = run(*words[:position], "--traceback", *words[position:])
        assert code == 2 and "Traceback" in err and "raise LookupError" in err


def test_an_error_of_ours_says_so(capsys):
    assert stop(KeyError("x")) == 1
    assert "this is a fault of pyro-vae itself, --traceback shows where" in capsys.readouterr().err
    assert stop(MemoryError()) == 2
    assert "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
    ],
)
def test_what_torch_says_of_memory_that_ran_out_is_understood(capsys, said):
    assert stop(RuntimeError(said)) == 2
    assert "there is not enough memory" in capsys.readouterr().err


def test_an_error_about_a_place_in_memory_is_none_of_too_little(capsys):
    stop(RuntimeError("more than one element refers to a single memory location"))
    assert "more than one element" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["trian", "VAE"], "No such command 'trian'. Did you mean 'train'"),
        (["train", "VAE", "--epoch", "3"], "No such option: --epoch .*--epochs"),
        (["train", "VAE", "--epochs", "three"], "Invalid value for '--epochs'"),
        (["train", "VAE", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["train", "VAE", "--loss"], "'--loss' requires an argument"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["evaluate", "a", "b"], "unexpected extra argument"),
        (["sample", "nowhere"], "nowhere holds no run: there is no nowhere/config.json"),
        (["train", "--resume", "nowhere"], "nowhere holds no run"),
        (["train", "."], "'.' is not a call such as VAE"),
        (["check", "d.npz"], "d.npz"),
        (["compare", "d.npz"], "d.npz"),
        (["train", "nowhere.py:MyVAE()"], "no file nowhere.py"),
        (["check", "VAE", "--data", "arrays"], "arrays: missing a required argument: 'path'"),
        (
            ["check", "VAE", "--data", "arrays(3)"],
            "path must be the path of a file, in quotes, but is 3",
        ),
        (["check", "VAE", "--data", "folder('nowhere')"], "nowhere"),
        (["check", "VAE", "--data", "mnist(binarise='dynamic')"], "did you mean 'binarize'"),
        (["check", "VAE", "--loss", "IWAE(num_particle=5)"], "did you mean 'num_particles'"),
        (["check", "VAE", "--loss", "IWAE(num_particles='five')"], "IWAE|num_particles"),
        (["check", "VAE(prior=VampPriors(2))"], "did you mean 'VampPrior'"),
        (["compare", "VAE", "--num-particles", "many"], "--num-particles takes numbers"),
        (["list", "loss"], "no kind 'loss', did you mean 'losses'"),
    ],
    ids=lambda words: " ".join(words)[:40] if isinstance(words, list) else "",
)
def test_words_that_cannot_be_meant_are_one_sentence(run, tmp_path, data, words, sentence):
    code, _, err = run(*words)
    assert code == 2 and err.count("\n") == 1 and "Traceback" not in err, err
    assert re.search(sentence, err), err


@pytest.mark.parametrize(
    "name, value",
    [
        ("batch_size", "many"),
        ("clip_norm", "1"),
        ("data_dir", 3),
        ("epochs", [1]),
        ("known", {}),
        ("known", {"x_shape": 3}),
        ("lr_schedule", 1),
        ("program", None),
        ("resumed", "never"),
    ],
)
def test_a_configuration_that_was_changed_by_hand_is_named(trained, tmp_path, name, value):
    path = tmp_path / "a" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    for words in (("sample", "a"), ("train", "--resume", "a", "--epochs", 3)):
        code, _, err = trained(*words)
        assert code == 2 and f"damaged: {name!r} cannot be" in err and err.count("\n") == 1, err
