"""The estimators that are built without arguments: those with a network of their own are not."""

import inspect
from dataclasses import MISSING, fields

from pyro_vae import inference
from pyro_vae.inference import Estimator

__all__ = ["lone_estimators"]


def lone_estimators():
    """The classes, in the order of their names; `test_adversarial` is about the others."""
    parts = [getattr(inference, name) for name in inference.__all__]
    kinds = [p for p in parts if inspect.isclass(p) and issubclass(p, Estimator)]
    return [kind for kind in kinds if kind is not Estimator and _stands_alone(kind)]


def _stands_alone(kind):
    return not any(f.default is f.default_factory is MISSING for f in fields(kind))
