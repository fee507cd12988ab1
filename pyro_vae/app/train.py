"""Training into a run folder, from the beginning or from where it stopped."""

import shutil
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyro
import torch

from pyro_vae.datasets import Dataset
from pyro_vae.inference import Fit, fit
from pyro_vae.inference.training import check_counts
from pyro_vae.program import ProgramModule, device_of

from .config import Config
from .cost import plan
from .files import CHECKPOINT, WEIGHTS
from .prepare import check_training, known, settings, steps_in_epoch, total_steps
from .run import Run
from .text import read_data

__all__ = ["resume", "train"]


def train(
    program: ProgramModule,
    data: Dataset,
    config: Config,
    folder: Path,
    *,
    tensorboard: bool = False,
) -> tuple[Run, Fit]:
    """Trains what `prepare` returned, into a new run folder."""
    writing = _tensorboard(folder) if tensorboard else nullcontext()
    run = Run.start(folder, config, known(data), str(device_of(program)))
    return run, _fit(run, program, data, config, None, writing)


def resume(
    run: Run,
    config: Config,
    device: torch.device,
    *,
    moved: bool = False,
    tensorboard: bool = False,
) -> tuple[ProgramModule, Dataset, Fit]:
    """Goes on with the training of a run folder as if nothing had happened.

    Args:
        run: The run.
        config: What it goes on with.
        device: Where.
        moved: Whether `config` says anew where the data are, as seen from here.
        tensorboard: Whether TensorBoard events are written.
    """
    data = read_data(config.data, config.data_dir) if moved else run.data()
    _check_same_data(run, data)
    pyro.set_rng_seed(config.seed)
    program = run.program(known(data))
    check_counts(epochs=config.epochs, steps=config.steps, batch_size=config.batch_size)
    state = None  # a run that was ended before its first epoch begins again
    if (run.folder / CHECKPOINT).exists():
        state = run.load_checkpoint(program)
        done = state["svi"]["steps"]
        if total_steps(program, config, data) < done:
            raise ValueError(
                f"{run.folder} has taken {done} steps already, and {config.epochs or config.steps} "
                f"{'epochs' if config.epochs else 'steps'} in all are fewer; give more"
            )
    check_training(program.to(device), data, config)
    writing = _tensorboard(run.folder) if tensorboard else nullcontext()
    run.rewrite_config(config, known(data), str(device), moved=moved)
    return program, data, _fit(run, program, data, config, state, writing)


def _check_same_data(run: Run, data: Dataset) -> None:
    """Refuses to go on with other data than before, as far as the run knows them."""
    before, now = run.known, known(data)
    for name in ("x_shape", "y_shape", "num_classes", "num_data"):
        if name in before and before[name] != now.get(name):
            raise ValueError(
                f"the data are other than those that {run.folder} began with: {name} was "
                f"{before[name]} and is {now.get(name)}; name the same with --data or --data-dir, "
                "or train anew"
            )


def _fit(
    run: Run,
    program: ProgramModule,
    data: Dataset,
    config: Config,
    state: dict[str, Any] | None,
    writing: AbstractContextManager[Any],
) -> Fit:
    device = device_of(program)
    with writing as events:
        total = total_steps(program, config, data)
        print(plan(total, steps_in_epoch(program, config, data), config.batch_size), flush=True)
        every = max(total // 10, 1)
        shown = 0

        def on_epoch(training: Fit, best: bool) -> None:
            nonlocal shown
            run.save_checkpoint(program, training.state_dict())
            run.write_metrics(training.records)
            if best:
                run.save_weights(program)
            if events is not None:
                for name, value in training.records[-1].items():
                    events.add_scalar(name, value, training.svi.steps)
            if training.svi.steps // every > shown:
                shown = training.svi.steps // every
                _log(training.records[-1])

        try:
            training = fit(
                program,
                data.train.to(device),
                valid=data.valid.to(device),
                on_epoch=on_epoch,
                resume=state,
                compile=config.compile,
                **settings(config, data),
            )
        except Exception as error:
            if (run.folder / CHECKPOINT).exists():
                kept = f"the last good epoch is kept in {run.folder}"
            else:
                shutil.rmtree(run.folder)
                kept = "no epoch was finished, so nothing is kept"
            if isinstance(error, FloatingPointError):
                raise FloatingPointError(f"{error}; {kept}") from error
            if isinstance(error, OSError) and error.errno is not None:
                raise OSError(error.errno, f"{error.strerror}; {kept}", error.filename) from error
            raise
    if training.interrupted:
        run.save_checkpoint(program, training.state_dict())
        if not (run.folder / WEIGHTS).exists():
            run.save_weights(program)
    return training


def _log(record: Mapping[str, float]) -> None:
    """A line of progress where there is no terminal for a bar."""
    if not sys.stderr.isatty():
        print("  ".join(f"{name} {value:.5g}" for name, value in record.items()), flush=True)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "--tensorboard needs the extra of that name: pip install 'pyro-vae[tensorboard]'"
        ) from error
    return SummaryWriter(folder / "tensorboard")
