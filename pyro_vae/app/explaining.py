"""The explanation of a run, or of a program as it begins."""

import json

import pyro

from pyro_vae.inference import Explanation
from pyro_vae.inference import explain as explained

from .files import METRICS
from .first_stages import place_of
from .opened import trained_and_data
from .prepare import find_device, known_from, preflight
from .run import Run
from .text import read_data, read_loss, read_program

__all__ = ["explanation_of"]


def explanation_of(
    text: str,
    loss: str | None,
    data: str | None,
    *,
    split: str,
    num_data: int,
    step: int | None,
    data_dir: str | None,
    seed: int,
    device: str,
) -> Explanation:
    """The explanation of what a text names.

    Args:
        text: A run folder, or a program as one writes it.
        loss: The text of an estimator; by default the run's own, or Trace_ELBO of a program.
        data: The text of data; by default the run's own, or the digits.
        split: Which part of the data.
        num_data: The data of the batch, at most.
        step: At which schedules stand; by default at the run's last, or at 0.
        data_dir: The folder with the files of data sets.
        seed: Of the random numbers.
        device: Where it is computed.
    """
    folder = place_of(text)
    if folder.is_dir():
        program, dataset = trained_and_data(folder, data, data_dir, seed, device)
        run = Run(folder)
        known = known_from(dataset)
        estimator = run.loss(known) if loss is None else read_loss(loss, known)
        step = _last_step(run) if step is None else step
        title = run.config.program
    else:
        dataset = read_data(data or "digits", data_dir)
        known, title = known_from(dataset), text
        pyro.set_rng_seed(seed)
        program = read_program(text, known).to(find_device(device))
        estimator = read_loss(loss or "Trace_ELBO", known)
        preflight(program, dataset, estimator, min(num_data, 128))
    part = getattr(dataset, split)
    return explained(program, part, loss=estimator, num_data=num_data, step=step or 0, title=title)


def _last_step(run: Run) -> int:
    """The steps that a training has taken; 0 before its first epoch has ended."""
    lines = (run.folder / METRICS).read_text().splitlines()
    return int(json.loads(lines[-1])["step"]) if lines else 0
