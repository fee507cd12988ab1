"""Training into a run folder, from the texts of program, data and loss."""

import shutil
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import ELBO

from pyro_vae import plots
from pyro_vae.datasets import Dataset, Split
from pyro_vae.inference import Fit, evaluate, fit, log_likelihood, mean_and_error
from pyro_vae.inference.fit import check_counts
from pyro_vae.inference.optimizer import add_parameters
from pyro_vae.preflight import Report, check
from pyro_vae.program import ProgramModule, device_of

from . import figures
from .run import CHECKPOINT, WEIGHTS, Config, Run
from .text import read_data, read_loss, read_optim, read_program, read_schedule

__all__ = [
    "evaluation",
    "find_device",
    "finish",
    "known",
    "preflight",
    "prepare",
    "resume",
    "train",
]


def find_device(name: str) -> torch.device:
    """The device of a name; "auto" is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"there is no device {name!r} here; use auto or cpu") from error
    return device


def prepare(config: Config, device: torch.device) -> tuple[ProgramModule, Dataset]:
    """Builds program and data, and checks all before anything is written.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: In one sentence that says what to do.
    """
    data = read_data(config.data, config.data_dir)
    pyro.set_rng_seed(config.seed)
    program = read_program(config.program, known(data)).to(device)
    settings = _settings(config, data)
    check_counts(epochs=config.epochs, steps=config.steps, batch_size=config.batch_size)
    report = preflight(program, data, settings["loss"], config.batch_size)
    try:
        add_parameters(None, settings["optim"], report.parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{config.optim} cannot be built: {error}") from error
    return program, data


def known(data: Dataset) -> dict[str, Any]:
    """What data know, for the arguments that the texts of program and loss leave out."""
    found = {
        "x_shape": data.x_shape,
        "num_classes": data.num_classes,
        "num_data": len(data.train),
    }
    return {name: value for name, value in found.items() if value is not None}


def preflight(program: ProgramModule, data: Dataset, loss: ELBO, batch_size: int) -> Report:
    """Checks a program on one batch of its data, and that all it trains can be saved."""
    batch = next(data.train.batches(batch_size))[0].to(device_of(program))
    report = check(program, batch, loss)
    own = {id(parameter) for parameter in program.parameters()}
    for name, parameter in report.parameters.items():
        if id(parameter) not in own:
            raise ValueError(
                f"parameter {name!r} of shape {tuple(parameter.shape)} would be trained but not "
                "saved; make it an nn.Parameter, PyroParam or submodule of the program, or put its "
                "module at the top of the file"
            )
    return report


def train(
    program: ProgramModule,
    data: Dataset,
    config: Config,
    folder: Path,
    *,
    compile: bool | None = None,
    tensorboard: bool = False,
) -> tuple[Run, Fit]:
    """Trains what `prepare` returned, into a new run folder."""
    writing = _tensorboard(folder) if tensorboard else nullcontext()
    run = Run.start(folder, config, known(data), str(device_of(program)))
    return run, _fit(run, program, data, config, None, compile, writing)


def resume(
    run: Run,
    config: Config,
    device: torch.device,
    *,
    compile: bool | None = None,
    tensorboard: bool = False,
) -> tuple[ProgramModule, Dataset, Fit]:
    """Goes on with the training of a run folder as if nothing had happened."""
    program, data = run.program(), read_data(config.data, config.data_dir)
    state = run.load_checkpoint(program)
    program.to(device)
    run.write_config(config, run.known, str(device))
    writing = _tensorboard(run.folder) if tensorboard else nullcontext()
    return program, data, _fit(run, program, data, config, state, compile, writing)


def evaluation(
    program: ProgramModule, split: Split, *, num_particles: int | None = None
) -> dict[str, Any]:
    """The mean over data, with its standard error, of the bound, its rate and its distortion.

    Args:
        program: What to evaluate.
        split: The data.
        num_particles: K of the importance-weighted log-likelihood; None leaves it out.
    """
    x = next(split.batches(len(split)))[0].to(device_of(program))
    terms = evaluate(program, x, num_particles=10)
    values = {"bound": terms.bound, "rate": terms.rate, "distortion": terms.distortion}
    if num_particles is not None:
        values["log_likelihood"] = log_likelihood(program, x, num_particles)
    result: dict[str, Any] = {"num_data": len(x)}
    if num_particles is not None:
        result["num_particles"] = num_particles
    for name, value in values.items():
        result[name], result[f"{name}_error"] = mean_and_error(value)
    return result


def finish(run: Run, program: ProgramModule, data: Dataset, records: Any) -> dict[str, Any]:
    """Evaluates the best parameters on the test data and draws the figures."""
    program.load_state_dict(run.load().state_dict())
    pyro.set_rng_seed(run.config.seed)
    results = evaluation(program, data.test)
    few = next(data.test.batches(10))[0]
    pictures = {
        "samples": figures.samples(program, 64, data.x_shape, mean=True),
        "reconstructions": figures.reconstructions(program, few),
        "curves": plots.curves(records),
    }
    for name, figure in pictures.items():
        figures.save(figure, run.folder / f"{name}.png")
    run.write_results(results | {"split": "test"})
    return results


def _settings(config: Config, data: Dataset) -> dict[str, Any]:
    schedule = config.lr_schedule
    return {
        "loss": read_loss(config.loss, known(data)),
        "optim": read_optim(config.optim),
        "epochs": config.epochs,
        "steps": config.steps,
        "batch_size": config.batch_size,
        "lr_schedule": None if schedule is None else read_schedule(schedule),
        "clip_norm": config.clip_norm,
    }


def _fit(
    run: Run,
    program: ProgramModule,
    data: Dataset,
    config: Config,
    state: dict[str, Any] | None,
    compile: bool | None,
    writing: AbstractContextManager[Any],
) -> Fit:
    device = device_of(program)
    with writing as events:

        def on_epoch(training: Fit, best: bool) -> None:
            run.save_checkpoint(program, training.state_dict())
            run.write_metrics(training.records)
            if best:
                run.save_weights(program)
            if events is not None:
                for name, value in training.records[-1].items():
                    events.add_scalar(name, value, training.svi.steps)
            if training.progress.epoch % max((config.epochs or 20) // 10, 1) == 0:
                _log(training.records[-1])

        try:
            training = fit(
                program,
                data.train.to(device),
                valid=data.valid.to(device),
                on_epoch=on_epoch,
                resume=state,
                compile=compile,
                **_settings(config, data),
            )
        except FloatingPointError as error:
            if (run.folder / CHECKPOINT).exists():
                kept = f"the last good epoch is kept in {run.folder}"
            else:
                shutil.rmtree(run.folder)
                kept = "no epoch was finished, so nothing is kept"
            raise FloatingPointError(f"{error}; {kept}") from error
    if training.interrupted:
        run.save_checkpoint(program, training.state_dict())
        if not (run.folder / WEIGHTS).exists():
            run.save_weights(program)
    return training


def _log(record: Mapping[str, float]) -> None:
    """Ten lines in all where there is no terminal for a progress bar."""
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
