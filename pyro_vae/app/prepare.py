"""What a training is made of, from its texts, and what is refused before anything is written."""

import math
from dataclasses import replace
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.datasets import Dataset, Split
from pyro_vae.inference import SVI
from pyro_vae.inference.checking import Report, check
from pyro_vae.inference.training import check_arguments, check_counts, has_labels
from pyro_vae.program import ProgramModule, device_of

from .config import Config
from .text import read_data, read_loss, read_optim, read_program, read_schedule

__all__ = [
    "check_training",
    "find_device",
    "known",
    "labelled",
    "preflight",
    "prepare",
    "settings",
    "steps_in_epoch",
    "total_steps",
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
    check_training(program, data, config)
    return program, data


def check_training(program: ProgramModule, data: Dataset, config: Config) -> None:
    """Refuses what would go wrong in a training, before its first step."""
    check_counts(epochs=config.epochs, steps=config.steps, batch_size=config.batch_size)
    found = settings(config, data)
    report = preflight(program, data, found["loss"], config.batch_size)
    SVI(program.model, program.guide, found["optim"], clip_norm=config.clip_norm)
    try:
        check_arguments(found["optim"], report.parameters)
    except Exception as error:  # torch's optimizers raise what they like
        raise ValueError(f"{config.optim} cannot be used: {error}") from error
    factor, total = found["lr_schedule"], total_steps(program, config, data)
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


def total_steps(program: ProgramModule, config: Config, data: Dataset) -> int:
    """The steps that a training has at its end."""
    return config.steps or (config.epochs or 20) * steps_in_epoch(program, config, data)


def steps_in_epoch(program: ProgramModule, config: Config, data: Dataset) -> int:
    """The steps of one pass over the training data."""
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


def settings(config: Config, data: Dataset) -> dict[str, Any]:
    """The arguments of `fit` that the texts and numbers of a training say."""
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
