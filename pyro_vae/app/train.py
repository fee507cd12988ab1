"""Training into a run folder, from the texts of program, data and loss."""

import math
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro
import torch
from matplotlib.figure import Figure
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae import plots
from pyro_vae.datasets import Dataset, Split
from pyro_vae.inference import SVI, Fit, evaluate, fit, log_likelihood, mean_and_error
from pyro_vae.inference.optimizer import check_arguments
from pyro_vae.inference.preflight import Report, check
from pyro_vae.inference.training_data import check_counts, has_labels
from pyro_vae.program import ProgramModule, device_of, evaluating

from . import figures
from .cost import plan
from .objective import objective, summed_out
from .run import CHECKPOINT, WEIGHTS, Config, Run
from .text import read_data, read_loss, read_optim, read_program, read_schedule

__all__ = [
    "evaluation",
    "find_device",
    "finish",
    "known",
    "labelled",
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
        if device.type not in ("cpu", "cuda"):
            raise ValueError("only the CPU and CUDA GPUs are supported")
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
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
    _check(program, data, config)
    return program, data


def _check(program: ProgramModule, data: Dataset, config: Config) -> None:
    check_counts(epochs=config.epochs, steps=config.steps, batch_size=config.batch_size)
    settings = _settings(config, data)
    report = preflight(program, data, settings["loss"], config.batch_size)
    SVI(program.model, program.guide, settings["optim"], clip_norm=config.clip_norm)
    try:
        check_arguments(settings["optim"], report.parameters)
    except Exception as error:  # torch's optimizers raise what they like
        raise ValueError(f"{config.optim} cannot be used: {error}") from error
    factor, total = settings["lr_schedule"], _total_steps(program, config, data)
    for step in (0, 1, total // 2, total):
        if factor is not None and not 0 <= _number(factor, step) < math.inf:
            raise ValueError(
                f"{config.lr_schedule} is {factor(step)} at step {step}, but a factor of the "
                "learning rate is finite and not negative"
            )


def _number(schedule: Any, step: int) -> float:
    try:
        return float(schedule(step))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{schedule!r} gives no number: {error}") from error


def _total_steps(program: ProgramModule, config: Config, data: Dataset) -> int:
    return config.steps or (config.epochs or 20) * _steps_in_epoch(program, config, data)


def _steps_in_epoch(program: ProgramModule, config: Config, data: Dataset) -> int:
    return data.train.num_batches(config.batch_size, labels=has_labels(program, data.train))


def known(data: Dataset) -> dict[str, Any]:
    """What data know, for the arguments that the texts of program and loss leave out."""
    found = {
        "x_shape": data.x_shape,
        "y_shape": data.y_shape or None,
        "num_classes": data.num_classes,
        "num_data": len(data.train),
        "likelihood": data.likelihood,
    }
    return {name: value for name, value in found.items() if value is not None}


def preflight(program: ProgramModule, data: Dataset, loss: ELBO, batch_size: int) -> Report:
    """Checks a program on one batch of its data, and that all it trains can be saved."""
    x, y = labelled(program, data.train, batch_size)
    report = check(program, x, loss, y=y)
    if x.isfinite().all() and (lacking := _with_missing_entries(data, batch_size)):
        x, y = labelled(program, lacking)
        check(program, x, loss, y=y)
    own = {id(parameter) for parameter in program.parameters()}
    for name, parameter in report.parameters.items():
        if id(parameter) not in own:
            raise ValueError(
                f"parameter {name!r} of shape {tuple(parameter.shape)} would be trained but not "
                "saved; make its module an attribute of the program's class or a name at the top "
                "of the file of functions, and lists of modules nn.ModuleList"
            )
    return report


def _with_missing_entries(data: Dataset, num_data: int) -> Split | None:
    """Some data that hold NaN, if there are any, which the first batch may not."""
    for part in (data.train, data.valid, data.test):
        where = part.x.isnan().flatten(1).any(1).nonzero()[:num_data, 0]
        if len(where):
            return replace(part, x=part.x[where], y=None if part.y is None else part.y[where])
    return None


def labelled(
    program: ProgramModule, split: Split, num_data: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """The first data, or all, on the program's device; with labels if the model takes them."""
    labels = has_labels(program, split)
    batch = next(split.batches(num_data or len(split), labels=labels))
    x, *y = (part.to(device_of(program)) for part in batch)
    return x, y[0] if y else None


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
        if _total_steps(program, config, data) < done:
            raise ValueError(
                f"{run.folder} has taken {done} steps already, and {config.epochs or config.steps} "
                f"{'epochs' if config.epochs else 'steps'} in all are fewer; give more"
            )
    _check(program.to(device), data, config)
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


def evaluation(
    program: ProgramModule, split: Split, *, num_particles: int | None = None
) -> dict[str, Any]:
    """The mean over data, with its standard error, of the bound, its rate and its distortion.

    Of a program that classifies, the share of labels that it finds, too.

    Args:
        program: What to evaluate.
        split: The data.
        num_particles: K of the importance-weighted log-likelihood; None leaves it out.
    """
    x, y = labelled(program, split)
    terms = evaluate(program, x, y, num_particles=10)
    values = {"bound": terms.bound, "rate": terms.rate, "distortion": terms.distortion}
    result: dict[str, Any] = {"num_data": len(x)}
    if num_particles is not None:
        values["log_likelihood"] = log_likelihood(program, x, num_particles, y=y, progress=True)
        result["num_particles"] = num_particles
    return result | _means(values) | _accuracy(program, split)


def finish(run: Run, program: ProgramModule, data: Dataset, records: Any) -> dict[str, Any]:
    """Evaluates the best parameters on the test data and draws the figures."""
    program.load_state_dict(run.load().state_dict())
    pyro.set_rng_seed(run.config.seed)
    results = _results(program, data, run.config, steps=records[-1]["step"])
    run.write_results(results | {"split": "test"})
    few = labelled(program, data.test, 10)
    pictures: dict[str, Callable[[], Figure]] = {
        "samples": lambda: figures.samples(program, 64, data.x_shape, num_classes=data.num_classes),
        "reconstructions": lambda: figures.reconstructions(program, *few),
        "curves": lambda: plots.curves(records),
    }
    for name, draw in pictures.items():
        try:
            figures.save(draw(), run.folder / f"{name}.png")
        except ValueError as error:
            print(f"no {name}.png: {error}")
    return results


def _results(
    program: ProgramModule, data: Dataset, config: Config, *, steps: int
) -> dict[str, Any]:
    """The evaluation on the test data; the loss alone where data have no rate."""
    why = ""
    if not summed_out(program, data.test):
        try:
            return evaluation(program, data.test)
        except ValueError as error:  # a bound of all data together, for one
            why = f"no rate and no distortion: {error}"
    loss = read_loss(config.loss, known(data))
    results = objective(program, loss, data.test, steps) | _accuracy(program, data.test)
    print(why, end="\n" if why else "")
    return results


def _accuracy(program: ProgramModule, split: Split) -> dict[str, Any]:
    if not hasattr(program, "classify") or split.y is None or not (split.y >= 0).any():
        return {}
    right = []
    with evaluating(program):
        for x, y in split.batches(500, labels=True):
            guess = program.classify(x.to(device_of(program))).argmax(-1).to(y.device)
            right.append((guess == y)[y >= 0])
    return _means({"accuracy": torch.cat(right).double()})


def _means(values: Mapping[str, Tensor]) -> dict[str, Any]:
    """The mean of each by its name, and its standard error by name_error, None where unknown."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        result[name], error = mean_and_error(value)
        result[f"{name}_error"] = error if math.isfinite(error) else None
    return result


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
        "bfloat16": config.bfloat16,
    }


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
        total = _total_steps(program, config, data)
        print(plan(total, _steps_in_epoch(program, config, data), config.batch_size), flush=True)
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
                **_settings(config, data),
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
