"""The names that texts may use."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro.infer
import pyro.optim
from torch import nn

import pyro_vae
from pyro_vae import (
    datasets,
    distributions,
    inference,
    likelihoods,
    models,
    networks,
    posteriors,
    priors,
)
from pyro_vae.inference import Estimator

__all__ = ["catalogue"]


def catalogue() -> dict[str, dict[str, Any]]:
    """The public names that texts may use, by kind."""

    def public(module: Any) -> dict[str, Any]:
        return {name: getattr(module, name) for name in module.__all__}

    inferences = public(inference)
    losses = {
        name: value
        for name, value in inferences.items()
        if isinstance(value, type) and issubclass(value, Estimator) and value is not Estimator
    }
    pyros = ("TraceGraph_ELBO", "TraceTMC_ELBO", "RenyiELBO")
    activations = ("ELU", "GELU", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softplus", "Tanh")
    return {
        "programs": public(models),
        "losses": losses
        | {"TraceEnum_ELBO": inference.TraceEnum_ELBO}
        | {name: getattr(pyro.infer, name) for name in pyros},
        "schedules": public(inference.schedules),
        "parts of losses": {
            name: getattr(inference, name)
            for name in (
                "Hinge",
                "IMQ",
                "LeaveOneOut",
                "Minimax",
                "MovingAverage",
                "NonSaturating",
                "RBF",
            )
        },
        "penalties": {"Spectral": inference.Spectral},
        "guide steps": {"Aggressive": inference.Aggressive},
        "data": {
            name: value for name, value in public(datasets).items() if inspect.isfunction(value)
        },
        "priors": public(priors),
        "likelihoods": public(likelihoods),
        "posteriors": public(posteriors),
        "networks": public(networks),
        "functions": {"partial": _partial, "load": pyro_vae.load},
        "noise of a diffusion": {
            name: getattr(distributions, name)
            for name in ("cosine_noise", "linear_noise", "log_snr_noise")
        },
        "activations": {name: getattr(nn, name) for name in activations},
        "optimizers": {
            name: getattr(pyro.optim, name)
            for name in ("Adagrad", "Adam", "AdamW", "Adamax", "ClippedAdam", "RMSprop", "SGD")
        },
    }


def _partial(network: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`functools.partial` of a network, whose options are looked at before the shapes are known."""
    parameters = inspect.signature(network).parameters
    unknown = [name for name in options if name not in parameters]
    if unknown:
        raise ValueError(
            f"{network.__name__} has no argument {unknown[0]!r}; its arguments are "
            f"{', '.join(parameters)}"
        )
    return partial(network, **options)
