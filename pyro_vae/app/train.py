"""Training into a run folder, from the beginning or from where it stopped."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyro
import torch

from pyro_vae.batches import near
from pyro_vae.datasets import Dataset
from pyro_vae.inference import Fit, fit
from pyro_vae.inference.training import line_of_rates
from pyro_vae.kl_weights import weights_come_later
from pyro_vae.program import ProgramModule, device_of

from .config import Config
from .cost import plan
from .files import COLUMNS, WEIGHTS
from .molecules import forget_references
from .prepare import Prepared, known_from
from .run import Run
from .text import read_data
from .texts import check_vocabulary
from .writing import write_json

__all__ = ["resume", "train"]


def train(prepared: Prepared, folder: Path, *, tensorboard: bool = False) -> tuple[Run, Fit]:
    """Trains what `prepare` returned, into a new run folder."""
    writing = _tensorboard(folder) if tensorboard else nullcontext()
    known, device = known_from(prepared.data), str(device_of(prepared.program))
    vocabulary = prepared.data.vocabulary
    run = Run.start(folder, prepared.config, known, device, prepared.first_stages, vocabulary)
    if prepared.data.table is not None:
        write_json(folder / COLUMNS, prepared.data.table.as_json())
    return run, _fit(run, prepared, None, writing)


def resume(
    run: Run,
    config: Config,
    device: torch.device,
    *,
    moved: bool = False,
    tensorboard: bool = False,
) -> tuple[Prepared, Fit]:
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
    # A run that was ended before its first epoch begins again.
    with weights_come_later() if run.has_checkpoint() else nullcontext():
        program = run.program(known_from(data))
    state = run.load_checkpoint(program) if run.has_checkpoint() else None
    loss, penalty = run.loss(known_from(data)), run.penalty()
    prepared = Prepared.of(config, data, program.to(device), loss, penalty=penalty)
    if state is not None and prepared.steps < state["svi"]["steps"]:
        raise ValueError(
            f"{run.folder} has taken {state['svi']['steps']} steps already, and "
            f"{config.epochs or config.steps} {'epochs' if config.epochs else 'steps'} in all are "
            "fewer; give more"
        )
    writing = _tensorboard(run.folder) if tensorboard else nullcontext()
    run.rewrite_config(config, known_from(data), str(device), moved=moved)
    forget_references(run)
    return prepared, _fit(run, prepared, state, writing)


def _check_same_data(run: Run, data: Dataset) -> None:
    """Refuses to go on with other data than before, as far as the run knows them."""
    before, now = run.known, known_from(data)
    for name in ("x_shape", "y_shape", "num_classes", "num_data"):
        if name in before and before[name] != now.get(name):
            raise ValueError(
                f"the data are other than those that {run.folder} began with: {name} was "
                f"{before[name]} and is {now.get(name)}; name the same with --data or --data-dir, "
                "or train anew"
            )
    check_vocabulary(run, data)


def _fit(
    run: Run,
    prepared: Prepared,
    state: dict[str, Any] | None,
    writing: AbstractContextManager[Any],
) -> Fit:
    """Trains, and writes each epoch; `state` is that of the training to go on with."""
    program, data, config = prepared.program, prepared.data, prepared.config
    print(plan(prepared.steps, prepared.steps_in_epoch, config.batch_size), flush=True)
    device = device_of(program)
    with writing as events, _telling_what_is_kept(run):
        training = fit(
            program,
            near(data.train, device),
            loss=prepared.loss,
            optim=prepared.optim,
            epochs=config.epochs,
            steps=config.steps,
            batch_size=config.batch_size,
            valid=near(data.valid, device),
            valid_every=config.valid_every,
            clip_norm=config.clip_norm,
            lr_schedule=prepared.lr_schedule,
            penalty=prepared.penalty,
            recompute_batch_statistics=config.recompute_batch_statistics,
            guide_steps=prepared.guide_steps,
            compile=config.compile,
            bfloat16=config.bfloat16,
            on_epoch=_Epochs(run, program, prepared.steps, events),
            resume=state,
        )
    if training.interrupted:
        run.save_checkpoint(program, training.state_dict())
        if not (run.folder / WEIGHTS).exists():
            run.save_weights(program)
    return training


class _Epochs:
    """Writes each epoch into the run folder, and some ten lines of progress in all.

    Args:
        run: The run.
        program: What is trained.
        steps: The steps of the training.
        events: TensorBoard's writer; None writes no events.
    """

    def __init__(self, run: Run, program: ProgramModule, steps: int, events: Any) -> None:
        self.run, self.program, self.events = run, program, events
        self.every, self.lines = max(steps // 10, 1), -1  # the first epoch tells how long it takes

    def __call__(self, training: Fit, is_best: bool) -> None:
        self.run.save_checkpoint(self.program, training.state_dict())
        self.run.write_metrics(training.records)
        if is_best:
            self.run.save_weights(self.program)
        if self.events is not None:
            for name, value in training.records[-1].items():
                self.events.add_scalar(name, value, training.svi.steps)
        if training.svi.steps // self.every > self.lines:
            self.lines = training.svi.steps // self.every
            _log(training.records[-1])


@contextmanager
def _telling_what_is_kept(run: Run) -> Iterator[None]:
    """Has an error of the training say what is left of it, and leaves no folder without a run."""
    try:
        yield
    except Exception as error:
        if run.has_checkpoint():
            kept = f"the last good epoch is kept in {run.folder}"
        else:
            shutil.rmtree(run.folder)
            kept = "no epoch was finished, so nothing is kept"
        if isinstance(error, FloatingPointError):
            raise FloatingPointError(f"{error}; {kept}") from error
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, f"{error.strerror}; {kept}", error.filename) from error
        raise


def _log(record: Mapping[str, float]) -> None:
    """A line of progress where there is no terminal for a bar."""
    if sys.stderr.isatty():
        return
    numbers = {name: value for name, value in record.items() if not name.startswith("rate of ")}
    print("  ".join(f"{name} {value:.5g}" for name, value in numbers.items()), flush=True)
    if rates := line_of_rates(record, columns=120):
        print(rates, flush=True)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "--tensorboard needs the extra of that name: pip install 'pyro-vae[tensorboard]'"
        ) from error
    return SummaryWriter(folder / "tensorboard")
