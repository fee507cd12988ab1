"""The loss of the validation data, with its rate and distortion."""

import math

import torch
from pyro.infer import ELBO

from pyro_vae.arguments import arguments
from pyro_vae.datasets import Split
from pyro_vae.program import Program, evaluating

from .counts import Counts
from .estimator import Estimator
from .evaluation import evaluate
from .svi import SVI
from .training_data import has_labels

__all__ = ["validate"]


def validate(
    svi: SVI, program: Program, valid: Split, total: int, counts: Counts
) -> dict[str, float]:
    """What a record says of the validation data, with the schedules at their end."""
    batch_size = 500
    loss = svi.loss.at(total) if isinstance(svi.loss, Estimator) else svi.loss
    value = loss.loss if isinstance(loss, ELBO) else loss
    parts = list(valid.batches(batch_size, labels=has_labels(program, valid)))
    batches = [arguments(program, *part) for part in parts]
    try:
        with evaluating(program):
            losses = [
                counts.weight(batch) * float(value(program.model, program.guide, *batch))
                for batch in batches
            ]
    except FloatingPointError as error:
        raise FloatingPointError(f"on the validation data, at step {svi.steps}: {error}") from error
    record = {"valid_loss": sum(losses) / len(valid)}
    if not math.isfinite(record["valid_loss"]):
        raise FloatingPointError(
            f"the loss of the validation data is {record['valid_loss']} at step {svi.steps}; look "
            "at these data, or take a lower learning rate or clip_norm"
        )
    if isinstance(loss, Estimator) and all(counts.has_columns(batch) for batch in batches):
        data = (torch.cat(part) for part in zip(*parts, strict=True))
        terms = evaluate(program, *data, batch_size=batch_size)
        record |= {"rate": terms.rate.mean().item(), "distortion": terms.distortion.mean().item()}
    return record
