"""The log-likelihood of held-out data after training with an estimator, for equal steps or time."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor

from pyro_vae.batches import Data, first
from pyro_vae.inference.evaluation import log_likelihood, mean_and_error
from pyro_vae.inference.training import fit

from .bench import Bench, Cell
from .result import HeldOut

__all__ = ["Training"]

PARTICLES = 1000  # of the log-likelihood


@dataclass(frozen=True)
class Training:
    """One training with each estimator, all from the same parameters.

    Args:
        data: The data to train on.
        held_out: The data on which the trained programs are judged.
        steps: The number of steps of each, for equal steps; None for no such training.
        seconds: The length of each, for equal time; None for no such training.
        optim: The optimizer; None for the default of `fit`.
    """

    data: Data
    held_out: Data
    steps: int | None
    seconds: float | None
    optim: PyroOptim | None

    @classmethod
    def asked(
        cls,
        data: Data | None,
        held_out: Data | None,
        steps: int | None,
        seconds: float | None,
        optim: PyroOptim | None,
    ) -> "Training | None":
        """The trainings that the arguments of `compare` ask for; None if they ask for none.

        Raises:
            ValueError: If a length is not positive, or if there are no data.
        """
        for name, length in (("train_steps", steps), ("train_seconds", seconds)):
            if length is not None and not length > 0:
                raise ValueError(f"{name} must be positive, but is {length}")
        if steps is None and seconds is None:
            return None
        if data is None or held_out is None:
            raise ValueError("training needs data to train on, and others held_out to judge it by")
        return cls(data, held_out, steps, seconds, optim)

    def check(self, bench: Bench) -> None:
        """Refuses a program that `log_likelihood` cannot judge, before any training."""
        log_likelihood(bench.program, first(self.held_out, 2), 1)

    def run(self, cells: Sequence[Cell], bench: Bench, seeds: Sequence[int], bar: Any) -> None:
        """Trains with each estimator and each seed, and judges the program after it."""
        plan = [(cell, name, n) for cell in cells for name, n in self._lengths(cell).items()]
        bar.set_description("training")
        bar.total += len(seeds) * sum(cell.num_particles * n for cell, _, n in plan)
        for cell, name, steps in plan:
            try:
                values = [self._held_out(cell, bench, seed, steps) for seed in seeds]
            except FloatingPointError as error:
                cell.refuse(error)
                continue
            finally:
                bar.update(len(seeds) * cell.num_particles * steps)
            log_px = torch.stack(values)  # (seeds, N)
            mean, error_of_data = mean_and_error(log_px.mean(0))
            error_of_seeds = mean_and_error(log_px.mean(1))[1] if len(seeds) > 1 else None
            cell.held_out[name] = HeldOut(steps, mean, error_of_data, error_of_seeds)

    def _lengths(self, cell: Cell) -> dict[str, int]:
        lengths = {}
        if self.steps is not None:
            lengths["equal_steps"] = self.steps
        if self.seconds is not None:
            lengths["equal_time"] = max(1, round(self.seconds / median(cell.seconds)))
        return lengths

    def _held_out(self, cell: Cell, bench: Bench, seed: int, steps: int) -> Tensor:
        bench.restore()
        torch.manual_seed(seed)
        trained = fit(
            bench.program,
            self.data,
            loss=cell.estimator(),
            optim=self.optim,
            steps=steps,
            batch_size=bench.num_data,
            progress=False,
            compile=False,  # as the steps were that have been timed
        )
        if trained.interrupted:
            raise KeyboardInterrupt
        return log_likelihood(bench.program, self.held_out, PARTICLES)
