"""The test result of a program whose bound has no rate for each datum: its loss on test data."""

import sys
from typing import Any

import torch
from pyro.infer import ELBO

from pyro_vae.batches import Batches
from pyro_vae.datasets import DataSource, Split
from pyro_vae.inference import Estimator
from pyro_vae.inference.comparison import is_bound
from pyro_vae.inference.estimators import judged_by
from pyro_vae.inference.evaluation import enumerated_latents
from pyro_vae.inference.training import Counts
from pyro_vae.program import ProgramModule, evaluating

from .run import Run

__all__ = ["is_bound_after", "loss_that_is_no_bound", "objective", "summed_out"]


def summed_out(program: ProgramModule, part: Split | DataSource) -> list[str]:
    """The latents that the guide leaves to a loss such as TraceEnum_ELBO, by name."""
    batches = Batches.of(program, part, batch_size=2)
    with torch.random.fork_rng(), evaluating(program):
        return enumerated_latents(program, batches.first())


def is_bound_after(loss: ELBO, steps: int) -> bool:
    """Whether the value of a loss is a bound on log p(x), once it has trained for so many steps."""
    return is_bound(loss.at(steps) if isinstance(loss, Estimator) else loss)


def loss_that_is_no_bound(run: Run) -> str:
    """A sentence on the loss of a run where it is no bound on log p(x), as in the end it stood."""
    steps = run.config.steps or sys.maxsize
    if is_bound_after(run.loss(run.known), steps):
        return ""
    return (
        f"trained by {run.config.loss}, whose value is no bound on log p(x): these numbers are of "
        "the program's own density"
    )


def objective(
    program: ProgramModule, loss: ELBO, part: Split | DataSource, steps: int
) -> dict[str, Any]:
    """Minus the loss per datum, called "bound" if it is one on log p(x), else "objective".

    Args:
        program: What to judge.
        loss: What it was trained by.
        part: The data.
        steps: How many steps it was trained for, at which the loss's schedules stand.
    """
    loss = loss.at(steps) if isinstance(loss, Estimator) else loss
    counts = Counts(program, loss)
    with evaluating(program):
        values = [
            counts.weight(args) * float(judged_by(loss, program.model, program.guide, *args))
            for args in Batches.of(program, part, batch_size=500).once()
        ]
    name = "bound" if is_bound(loss) else "objective"
    return {"num_data": len(part), name: -sum(values) / len(part), f"{name}_error": None}
