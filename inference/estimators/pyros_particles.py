"""Estimators of Pyro that run particles at once, and the programs that cannot take it."""

from typing import Any

from pyro.infer import ELBO

from pyro_vae.inference.terms import Function, Way, find_particles

from .estimator import Estimator

__all__ = ["check_particles"]


def check_particles(loss: ELBO, model: Function, guide: Function, args: Any) -> None:
    """Refuses an estimator of Pyro that puts particles at once into a program that is wrong then.

    Those of ours run them in another way there.

    Raises:
        ValueError: With what to use instead.
    """
    at_once = getattr(loss, "vectorize_particles", False) and loss.num_particles > 1
    if isinstance(loss, Estimator) or not at_once:
        return
    way = find_particles(model, guide, args, {}).way
    if way is not Way.AT_ONCE:
        name = type(loss).__name__
        raise ValueError(
            f"pyro.infer.{name} runs {loss.num_particles} particles at once, but this program is "
            "wrong with a dimension for them, as its networks take one batch dimension; give "
            f"{name} vectorize_particles=False, or take the estimator of pyro_vae.inference"
        )
