"""The test result of a program whose bound has no rate for each datum: its loss on test data."""

from collections.abc import Iterator
from typing import Any

import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.datasets import Split
from pyro_vae.inference import Estimator
from pyro_vae.inference.comparison import is_bound
from pyro_vae.inference.estimators import judged_by
from pyro_vae.inference.evaluation import enumerated_latents
from pyro_vae.inference.training import Counts, has_labels
from pyro_vae.program import ProgramModule, device_of, evaluating

__all__ = ["objective", "summed_out"]


def summed_out(program: ProgramModule, split: Split) -> list[str]:
    """The latents that the guide leaves to a loss such as TraceEnum_ELBO, by name."""
    with torch.random.fork_rng(), evaluating(program):
        return enumerated_latents(program, next(_batches(program, split, 2)))


def objective(program: ProgramModule, loss: ELBO, split: Split, steps: int) -> dict[str, Any]:
    """Minus the loss per datum, called "bound" if it is one on log p(x), else "objective".

    Args:
        program: What to judge.
        loss: What it was trained by.
        split: The data.
        steps: How many steps it was trained for, at which the loss's schedules stand.
    """
    loss = loss.at(steps) if isinstance(loss, Estimator) else loss
    counts = Counts(program, loss)
    with evaluating(program):
        values = [
            counts.weight(args) * float(judged_by(loss, program.model, program.guide, *args))
            for args in _batches(program, split, 500)
        ]
    name = "bound" if is_bound(loss) else "objective"
    return {"num_data": len(split), name: -sum(values) / len(split), f"{name}_error": None}


def _batches(program: ProgramModule, split: Split, batch_size: int) -> Iterator[tuple[Tensor, ...]]:
    device = device_of(program)
    for batch in split.batches(batch_size, labels=has_labels(program, split)):
        yield arguments(program, *(part.to(device) for part in batch))
