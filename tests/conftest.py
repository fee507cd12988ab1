import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack

import pyro
import pytest
import torch

from pyro_vae import precision
from pyro_vae.app import cli, figures

CACHE = pytest.StashKey()


def pytest_configure(config):
    """One thread a process, as tests run side by side; the commands that they start, too.

    What they compile lies in a cache of their own, which is theirs together.
    """
    if not hasattr(config, "workerinput"):  # the process that starts the others
        config.stash[CACHE] = tempfile.TemporaryDirectory()
        os.environ["PYRO_VAE_CACHE"] = config.stash[CACHE].name
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    gc.disable()  # until all tests are collected, of which none is garbage


def pytest_unconfigure(config):
    if CACHE in config.stash:
        config.stash[CACHE].cleanup()


def pytest_collection_finish():
    """Keeps half a million objects that stay, such as the tests, out of all later collections."""
    gc.freeze()
    gc.enable()


def pytest_collectstart(collector):
    """What a file draws while it is imported, such as weights, hangs on no other file."""
    if isinstance(collector, pytest.Module):
        pyro.set_rng_seed(0)


@pytest.fixture(autouse=True)
def fresh_randomness_and_parameters():
    pyro.set_rng_seed(0)
    pyro.clear_param_store()


@pytest.fixture(autouse=True, scope="session")
def bfloat16_wherever_it_is_asked_for():
    """Machines differ in what is faster; the tests of the choice itself put it back."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(precision, "fastest", lambda name, ways: "bfloat16")
        yield


@pytest.fixture(autouse=True, scope="session")
def coarse_pictures():
    """Commands draw the same with a ninth of the dots, which take most of a picture's time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(figures, "_DOTS_PER_INCH", 50)
        yield


@pytest.fixture(scope="session")
def command():
    """Runs a command in this process; returns its exit code."""

    def command(*words):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["pyro-vae", *map(str, words)])
            try:
                cli.main()
            except SystemExit as stop:
                return stop.code or 0
        return 0

    return command


@pytest.fixture
def run(command, tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder; returns its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = command(*words)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture(scope="session")
def a_run(command, tmp_path_factory):
    """The folder of a small VAE after two epochs of digits, to copy: that takes a second or two."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    assert command("train", "VAE(latent_dim=2, hidden=(16,))", "--epochs", 2, "--out", folder) == 0
    return folder


@pytest.fixture
def trained(run, a_run, tmp_path):
    """As `run`, in a folder with that training in the folder `a`."""
    shutil.copytree(a_run, tmp_path / "a")
    return run


@pytest.fixture
def long_training(tmp_path):
    """Starts a training in a process of its own, and returns that after the first checkpoint.

    It would take minutes, and prints into the file `printed`.
    """
    with ExitStack() as stack:

        def start(*words):
            words = [sys.executable, "-m", "pyro_vae", "train", *words, "--epochs", "3000"]
            printed = stack.enter_context(open(tmp_path / "printed", "w"))
            process = stack.enter_context(subprocess.Popen(words, cwd=tmp_path, stdout=printed))
            stack.callback(process.kill)
            while not list(tmp_path.glob("*/checkpoint.pt")):
                assert process.poll() is None, "it ended before it saved anything"
                time.sleep(0.1)
            return process

        yield start
