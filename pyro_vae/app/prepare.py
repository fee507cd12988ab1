"""A training made ready: its texts are read, and what would go wrong is refused."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor, nn
from torch.nn.functional import pad

from pyro_vae.batches import batch_of
from pyro_vae.datasets import Dataset, DataSource, Split, Tensors
from pyro_vae.inference import Aggressive, Estimator
from pyro_vae.inference.checking import Report, check
from pyro_vae.inference.training import (
    check_arguments,
    check_clip_norm,
    check_counts,
    check_guide_steps,
    check_penalty,
    training_batches,
)
from pyro_vae.program import ProgramModule

from .config import Config
from .first_stages import noting
from .text import (
    build,
    read_data,
    read_loss,
    read_optim,
    read_penalty,
    read_program,
    read_schedule,
)

__all__ = ["Prepared", "find_device", "known_from", "labelled", "preflight", "prepare"]


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


@dataclass(frozen=True)
class Prepared:
    """A training that can begin: all that its texts say, read once and checked.

    Attributes:
        config: The texts and numbers.
        data: What it trains on.
        program: What it trains, on its device.
        loss: The estimator.
        optim: The optimizer.
        lr_schedule: A factor of the learning rate, from the step; None leaves the rate alone.
        penalty: What is added to the loss's gradient; None if nothing is.
        guide_steps: The steps of the guide alone before each of the model; None if both are one.
        first_stages: The hashes of the weights of what program and loss load, by path; none of a
            run that is resumed, which knows them already.
    """

    config: Config
    data: Dataset
    program: ProgramModule
    loss: ELBO
    optim: PyroOptim
    lr_schedule: Callable[[int], float] | None
    penalty: Callable[[nn.Module], Tensor] | None
    guide_steps: int | Aggressive | None
    first_stages: Mapping[str, str]

    @classmethod
    def of(
        cls,
        config: Config,
        data: Dataset,
        program: ProgramModule,
        loss: ELBO,
        first_stages: Mapping[str, str] = MappingProxyType({}),
        penalty: Callable[[nn.Module], Tensor] | None = None,
    ) -> "Prepared":
        """Reads the other texts, and refuses what would go wrong in the training.

        Args:
            config: The texts and numbers.
            data: What it trains on.
            program: What it trains.
            loss: The estimator.
            first_stages: The hashes of the weights of what program and loss load, by path.
            penalty: What is added to the loss's gradient.

        Raises:
            ValueError: In one sentence that says what to do.
        """
        check_counts(epochs=config.epochs, steps=config.steps, batch_size=config.batch_size)
        check_clip_norm(config.clip_norm)
        optim = read_optim(config.optim)
        schedule = None if config.lr_schedule is None else read_schedule(config.lr_schedule)
        guide = None if config.guide_steps is None else _guide_steps(config.guide_steps)
        if guide is not None:
            check_guide_steps(guide, has_valid=True)
        prepared = cls(config, data, program, loss, optim, schedule, penalty, guide, first_stages)
        report = preflight(program, data, loss, config.batch_size)
        try:
            check_arguments(optim, report.parameters)
        except Exception as error:  # torch's optimizers raise what they like
            raise ValueError(f"{config.optim} cannot be used: {error}") from error
        if penalty is not None:
            check_penalty(penalty, program)
        prepared._check_schedule()
        return prepared

    @property
    def steps_in_epoch(self) -> int:
        """The steps of one pass over the training data."""
        size = self.config.batch_size
        return training_batches(self.program, self.data.train, self.loss, size).num_batches()

    @property
    def steps(self) -> int:
        """The steps that the training has taken at its end."""
        return self.config.steps or (self.config.epochs or 20) * self.steps_in_epoch

    def _check_schedule(self) -> None:
        for step in (0, 1, self.steps // 2, self.steps):
            if self.lr_schedule is not None and not 0 <= _number(self.lr_schedule, step) < math.inf:
                raise ValueError(
                    f"{self.config.lr_schedule} is {self.lr_schedule(step)} at step {step}, but a "
                    "factor of the learning rate is finite and not negative"
                )


def prepare(config: Config, device: torch.device) -> Prepared:
    """Builds program and data, and checks all before anything is written.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: In one sentence that says what to do.
    """
    data = read_data(config.data, config.data_dir)
    pyro.set_rng_seed(config.seed)
    with noting() as first_stages:
        program = read_program(config.program, known_from(data)).to(device)
        loss = read_loss(config.loss, known_from(data))
    penalty = None if config.penalty is None else read_penalty(config.penalty)
    return Prepared.of(config, data, program, loss, first_stages, penalty)


def _guide_steps(text: str) -> int | Aggressive:
    """How many steps of the guide come before each of the model: a number, or `Aggressive()`."""
    return int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else build("guide steps", text, {})


def _number(schedule: Any, step: int) -> float:
    try:
        return float(schedule(step))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{schedule!r} gives no number: {error}") from error


def known_from(data: Dataset) -> dict[str, Any]:
    """What data know, for the arguments that the texts of program and loss leave out."""
    known: dict[str, Any] = {
        "x_shape": data.x_shape,
        "y_shape": data.y_shape or None,
        "num_classes": data.num_classes,
        "num_tokens": data.num_tokens,
        "num_data": len(data.train),
        "likelihood": data.likelihood,
    }
    shapes = data.train.shapes.items()
    known |= {f"{name}_shape": shape for name, shape in shapes if name not in ("x", "y")}
    if not data.x_dtype.is_floating_point:
        known["x_dtype"] = data.x_dtype
    return {name: value for name, value in known.items() if value is not None}


def preflight(program: ProgramModule, data: Dataset, loss: ELBO, batch_size: int) -> Report:
    """Checks a program on one batch of its data, and that all it trains can be saved."""
    batch = batch_of(program, data.train, size=batch_size)
    report = check(program, Tensors(**batch), loss)
    is_complete = all(part.isfinite().all() for part in batch.values())
    if is_complete and (lacking := _with_missing_entries(data, batch_size)):
        check(program, Tensors(**batch_of(program, lacking)), loss)
    own = {id(parameter) for parameter in program.parameters()}
    if isinstance(loss, Estimator):  # saved with the training
        own |= {id(parameter) for parameter in loss.named_parameters().values()}
    for name, parameter in report.parameters.items():
        if id(parameter) not in own:
            raise ValueError(
                f"parameter {name!r} of shape {tuple(parameter.shape)} would be trained but not "
                "saved; make its module an attribute of the program's class or a name at the top "
                "of the file of functions, and lists of modules nn.ModuleList"
            )
    return report


def _with_missing_entries(data: Dataset, num_data: int) -> Split | None:
    """Some data that hold NaN, if there are any in memory, which the first batch may not."""
    for part in (data.train, data.valid, data.test):
        if not isinstance(part, Split):
            continue
        where = part.x.isnan().flatten(1).any(1).nonzero()[:num_data, 0]
        if len(where):
            return replace(part, x=part.x[where], y=None if part.y is None else part.y[where])
    return None


def labelled(
    program: ProgramModule, part: Split | DataSource, num_data: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """The first data, or all, on the program's device; with labels if the model takes them.

    Sequences of tokens have the whole shape of a datum, with -1 behind the end of each.
    """
    batch = batch_of(program, part, size=num_data or len(part))
    x, y = batch["x"], batch.get("y")
    if isinstance(part, Split) and part.ragged:
        x = pad(x, (0, part.x.shape[1] - x.shape[1]), value=-1)
    return x, y
