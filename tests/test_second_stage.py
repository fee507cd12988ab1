"""A second stage: a program whose first stage is a trained one, frozen, by `load('runs/first')`."""

import copy
import hashlib
import json
import os
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from pyro_vae import load
from pyro_vae.app.run import Run
from pyro_vae.app.text import read_program
from pyro_vae.datasets import digits
from pyro_vae.frozen import freeze, is_frozen
from pyro_vae.inference import Compile, fit, reconstruct
from pyro_vae.models import VAE
from pyro_vae.priors import GaussianMixture

# With a batch normalization, whose statistics a training must leave alone.
FIRST = "VAE(latent_dim=2, hidden=(8,), encoder=partial(ConvEncoder, channels=(2, 4)))"
PARTS = ", ".join(
    f"{name}=load('runs/first').{name}"
    for name in ("encoder", "decoder", "posterior", "likelihood")
)
SECOND = f"VAE(latent_dim=2, {PARTS}, prior=GaussianMixture(2, components=3))"
KNOWN = {"x_shape": (1, 8, 8)}


@pytest.fixture(scope="module")
def first_run(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert command("train", FIRST, "--epochs", 2, "--no-compile", "--out", folder) == 0
    return folder


@pytest.fixture
def first(run, first_run, tmp_path):
    """What runs a command where runs/first is a trained program."""
    shutil.copytree(first_run, tmp_path / "runs" / "first")
    return run


def tensors(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def are_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def second_stage(first):
    """The second stage of SECOND, in Python."""
    parts = {name: getattr(first, name) for name in ("encoder", "decoder", "posterior")}
    prior = GaussianMixture(2, components=3)
    return VAE((1, 8, 8), 2, **parts, likelihood=first.likelihood, prior=prior)


def test_a_second_stage_is_trained_resumed_judged_and_sampled_by_commands(first, tmp_path):
    before = (tmp_path / "runs" / "first" / "weights.safetensors").read_bytes()
    assert first("train", SECOND, "--epochs", 2, "--out", "runs/second")[::2] == (0, "")
    assert first("train", "--resume", "runs/second", "--epochs", 3)[::2] == (0, "")
    for words in (("evaluate", "--num-particles", 2), ("sample",), ("reconstruct",)):
        assert first(words[0], "runs/second", *words[1:])[::2] == (0, "")
    assert (tmp_path / "runs" / "first" / "weights.safetensors").read_bytes() == before


def test_a_second_stage_that_is_resumed_is_the_one_that_went_through(first):
    first("train", SECOND, "--epochs", 3, "--out", "whole")
    first("train", SECOND, "--epochs", 2, "--out", "half")
    assert first("train", "--resume", "half", "--epochs", 3)[0] == 0
    assert are_equal(tensors(load("whole")), tensors(load("half")))


def test_training_changes_no_bit_of_the_first_stage_nor_its_batch_normalization(first):
    trained = load("runs/first")
    assert any(isinstance(part, nn.BatchNorm2d) for part in trained.modules())
    before, program = tensors(trained), second_stage(trained)
    prior = tensors(program.prior)
    fit(program.train(), digits().train, epochs=2, progress=False)
    assert are_equal(tensors(trained), before)
    assert not are_equal(tensors(program.prior), prior)


def test_a_captured_second_stage_is_the_eager_one_bit_for_bit(first):
    results = []
    for compile in (False, Compile(fuse=False)):
        torch.manual_seed(0)
        program = second_stage(load("runs/first"))
        training = fit(program, digits().train, steps=15, compile=compile, progress=False)
        results.append(tensors(program))
    assert training.svi.mode == "captured"
    assert are_equal(*results)


def test_a_second_stage_reconstructs_as_its_first_does(first):
    first("train", SECOND, "--steps", 1, "--out", "runs/second")
    x, found = digits().test.x[:5], []
    for program in (load("runs/first"), load("runs/second")):
        torch.manual_seed(0)
        found.append(reconstruct(program, x))
    assert torch.equal(*found)


def test_the_weights_and_the_checkpoint_hold_what_was_trained_and_no_first_stage(first, tmp_path):
    first("train", SECOND, "--steps", 1, "--out", "runs/second")
    assert load("runs/second").prior.logits.shape == (3,)
    checkpoint = torch.load(tmp_path / "runs/second/checkpoint.pt", weights_only=True)
    fit = checkpoint["fit"]
    for names in (checkpoint["program"], fit["best"], fit["last"]):
        assert all("prior" in name for name in names)
    assert checkpoint["program"]


def test_what_is_frozen_and_was_not_loaded_is_kept_in_the_run(run):
    """Another first stage would be drawn when the run is opened again."""
    refit = "Refit(VAE(latent_dim=2, hidden=(8,)), prior=GaussianMixture(2))"
    assert run("train", refit, "--steps", 1, "--out", "refit")[::2] == (0, "")
    programs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        programs.append(tensors(load("refit")))
    assert are_equal(*programs)


def test_a_run_keeps_a_copy_of_the_first_stage_and_the_hash_of_its_weights(first, tmp_path):
    first("train", SECOND, "--steps", 1, "--out", "runs/second")
    stages = json.loads((tmp_path / "runs/second/config.json").read_text())["first_stages"]
    weights = (tmp_path / "runs/first/weights.safetensors").read_bytes()
    assert stages == {
        "runs/first": {
            "folder": str(tmp_path / "runs/first"),
            "copy": "first_stages/1",
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
    }
    kept = {path.name for path in (tmp_path / "runs/second/first_stages/1").iterdir()}
    assert kept == {"config.json", "weights.safetensors"}


def test_a_second_stage_is_opened_from_anywhere_and_after_it_has_moved(
    first, tmp_path, monkeypatch
):
    first("train", SECOND, "--steps", 1, "--out", "runs/second")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert first("sample", "../runs/second")[0] == 0
    assert first("train", "--resume", "../runs/second", "--steps", 2)[0] == 0
    os.rename(tmp_path / "runs/second", tmp_path / "moved")
    assert first("sample", "../moved")[0] == 0


OPENING = (
    ("sample", "runs/second"),
    ("evaluate", "runs/second", "--num-particles", 2),
    ("train", "--resume", "runs/second", "--steps", 2),
)


@pytest.mark.parametrize("words", OPENING, ids=lambda words: words[0])
def test_a_second_stage_keeps_the_weights_that_it_was_trained_on(first, tmp_path, words):
    first("train", SECOND, "--steps", 1, "--out", "runs/second")
    before = tensors(load("runs/second").decoder)
    assert first("train", "--resume", "runs/first", "--epochs", 3)[0] == 0
    assert not are_equal(tensors(load("runs/first").decoder), before)
    assert are_equal(tensors(load("runs/second").decoder), before)
    shutil.rmtree(tmp_path / "runs/first")
    assert first(*words)[0] == 0
    assert are_equal(tensors(load("runs/second").decoder), before)


@pytest.mark.parametrize("words", OPENING, ids=lambda words: words[0])
def test_a_copy_that_was_changed_or_left_out_is_one_sentence(first, tmp_path, words):
    first("train", SECOND, "--steps", 1, "--out", "runs/second")
    config = (tmp_path / "runs/second/config.json").read_bytes()
    weights = tmp_path / "runs/second/first_stages/1/weights.safetensors"
    other = weights.read_bytes()[:-1] + b"?"
    weights.unlink()
    code, _, err = first(*words)
    assert code == 2 and "its copy of the first stage 'runs/first'; copy the whole" in err
    assert err.count("\n") == 1
    weights.write_bytes(other)
    code, _, err = first(*words)
    assert code == 2 and "are not those of 'runs/first' that runs/second was trained on" in err
    assert err.count("\n") == 1
    assert (tmp_path / "runs/second/config.json").read_bytes() == config


def test_a_second_stage_may_stand_in_the_folder_of_its_first(first, tmp_path):
    assert first("train", SECOND, "--steps", 1, "--out", "runs/first/second")[::2] == (0, "")
    os.rename(tmp_path / "runs/first/second", tmp_path / "second")
    assert first("sample", "second")[0] == 0


def test_the_same_command_again_tells_that_the_first_stage_is_another(first):
    words = ("train", SECOND, "--steps", 1, "--out", "runs/second")
    assert first(*words)[0] == 0
    assert "nothing to do" in first(*words)[1]
    assert first("train", "--resume", "runs/first", "--epochs", 3)[0] == 0
    code, _, err = first(*words)
    assert code == 2 and "runs/first has changed since runs/second was trained with it" in err


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("VAE(prior=load('nowhere').prior)", "there is no run folder 'nowhere' to load"),
        ("VAE(prior=load('runs').prior)", "there is no run folder 'runs' to load"),
        ("VAE(prior=load('VAE').prior)", "there is no run folder 'VAE' to load"),
        ("VAE(prior=load('runs/first').priors)", "is a VAE, which has no part 'priors'; its parts"),
        ("VAE(prior=load('runs/first').__class__)", "has no part '__class__'"),
        ("VAE(prior=load('runs/first').prior.x.y)", "has no part 'x'; its parts are none"),
        ("VAE(prior=load('runs/first').prior())", "there is no|is not a public name"),
        ("VAE(prior=load(3).prior)", "load cannot be built|cannot be called"),
        ("VAE(encoder=load('runs/first').encoder)", "encoder's out_shape is"),
        ("load('runs/first').prior", "is not one of the programs"),
        ("VAE(prior=load('empty').prior)", "empty holds no weights"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(first, tmp_path, text, sentence):
    shutil.copytree(tmp_path / "runs/first", tmp_path / "empty")
    (tmp_path / "empty/weights.safetensors").unlink()
    code, _, err = first("train", text, "--out", "a")
    assert code == 2 and err.count("\n") == 1 and re.search(sentence, err), err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("stages", [3, {"runs/first": 3}, {"runs/first": {"folder": "runs/first"}}])
def test_first_stages_that_were_changed_by_hand_are_named(first, tmp_path, stages):
    first("train", SECOND, "--steps", 1, "--out", "runs/second")
    path = tmp_path / "runs/second/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"first_stages": stages}))
    code, _, err = first("sample", "runs/second")
    assert code == 2 and "damaged: 'first_stages' cannot be" in err and err.count("\n") == 1


FILE = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn

import pyro_vae

first = pyro_vae.load("runs/first")
prior = nn.Linear(1, 4)


def model(x):
    pyro.module("first", first)
    loc, log_scale = prior(torch.ones(1)).chunk(2)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
        pyro.sample("x", first.likelihood(first.decoder(z)), obs=x)


def guide(x):
    first.guide(x)
"""


def test_a_file_of_functions_may_load_its_first_stage(first, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FILE)
    assert first("train", "mine.py", "--steps", 1, "--out", "runs/second")[::2] == (0, "")
    monkeypatch.chdir(tmp_path / "runs")
    code, _, err = first("train", "--resume", "second", "--steps", 2)
    assert (code, err) == (0, "")
    monkeypatch.chdir(tmp_path)
    assert are_equal(tensors(load("runs/second").parts.first), tensors(load("runs/first")))
    names = torch.load(tmp_path / "runs/second/checkpoint.pt", weights_only=True)["program"]
    assert set(names) == {"parts.prior.weight", "parts.prior.bias"}


ESTIMATOR = """
from dataclasses import dataclass

import pyro_vae
from pyro_vae.inference import Estimator

first = pyro_vae.load("runs/first")


@dataclass(frozen=True)
class Mine(Estimator):
    def objective(self, t):
        return t.log_w.mean(0) - float(first.encoder.training)
"""


def test_an_estimator_of_a_file_may_load_what_is_trained(first, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(ESTIMATOR)
    words = ("train", "VAE(2, hidden=(8,))", "--loss", "mine.py:Mine", "--steps", 1)
    assert first(*words, "--out", "runs/second")[::2] == (0, "")
    monkeypatch.chdir(tmp_path / "runs")
    assert first("train", "--resume", "second", "--steps", 2)[::2] == (0, "")
    shutil.rmtree(tmp_path / "runs/first")
    assert first("train", "--resume", "second", "--steps", 3)[::2] == (0, "")


CLASS = """
from pyro_vae.models import VAE


class Second(VAE):
    def __init__(self, x_shape, first):
        super().__init__(x_shape, 2, decoder=first.decoder, likelihood=first.likelihood)
        self.first = first
"""


def test_a_whole_program_may_be_an_argument_and_a_third_stage_stands_on_a_second(first, tmp_path):
    (tmp_path / "mine.py").write_text(CLASS)
    words = ("train", "mine.py:Second(first=load('runs/first'))", "--steps", 1)
    assert first(*words, "--out", "runs/second")[::2] == (0, "")
    third = "VAE(2, encoder=load('runs/second').encoder, prior=load('runs/second').first.prior)"
    assert first("train", third, "--steps", 1, "--out", "runs/third")[::2] == (0, "")
    assert first("sample", "runs/third")[0] == 0
    assert set(Run(tmp_path / "runs/third").first_stages) == {"runs/second"}
    for name in ("first", "second"):
        shutil.rmtree(tmp_path / "runs" / name)
    assert first("sample", "runs/third")[0] == 0


def test_a_vamp_prior_stays_that_of_its_own_encoder(first, tmp_path):
    text = "VAE(2, hidden=(8,), prior=VampPrior(2, components=3))"
    first("train", text, "--steps", 1, "--out", "runs/vamp")
    second = "VAE(2, hidden=(16,), prior=load('runs/vamp').prior)"
    assert first("train", second, "--steps", 1, "--out", "runs/second")[::2] == (0, "")
    z = torch.randn(5, 2)
    log_pz = [load(folder).prior().log_prob(z) for folder in ("runs/vamp", "runs/second")]
    assert torch.equal(*log_pz)
    program = load("runs/second", frozen=False).double()
    assert program.prior().sample().dtype == torch.float64  # the two go with it


def test_a_program_that_is_loaded_to_be_trained_on_is_not_frozen(first):
    program = load("runs/first", frozen=False)
    before = tensors(program)
    fit(program, digits().train, steps=1, progress=False)
    assert not are_equal(tensors(program), before)


def test_texts_mean_what_they_mean_in_python(first):
    program = read_program(SECOND, KNOWN)
    assert is_frozen(program.encoder) and not is_frozen(program.prior)
    assert are_equal(tensors(program.encoder), tensors(load("runs/first").encoder))


def network():
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))


def test_what_is_frozen_stays_in_evaluation_mode_and_has_no_gradient():
    owner = nn.Sequential(network(), freeze(network()))
    for mode in (owner.train(), owner.eval(), owner.requires_grad_(True).train()):
        assert [part.training for part in mode[1].modules()] == [False] * 4
    assert owner[1].train() is owner[1]
    owner = nn.Sequential(network(), freeze(network()))
    assert not any(parameter.requires_grad for parameter in owner[1].parameters())
    assert all(parameter.requires_grad for parameter in owner[0].parameters())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_what_is_frozen_is_frozen(copied):
    frozen = freeze(network())
    twin = copied(frozen)
    assert is_frozen(twin) and is_frozen(twin[1])
    assert twin.train() is twin and not twin[1].training
    assert np.array_equal(twin[0].weight, frozen[0].weight)
