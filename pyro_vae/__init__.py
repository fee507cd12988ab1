"""Variational autoencoders as Pyro programs: one program, any ELBO estimator, exact answers.

The rooms: `models` (programs), `inference` (SVI, estimators, evaluation), and their parts in
`priors`, `likelihoods`, `posteriors`, `networks` and `distributions`; `datasets` and `plots`. Names
are imported when they are first used, so that the command line answers quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app.run import load
    from .factors import training_factor
    from .inference.checking import check
    from .program import Program
    from .sharing import once

__all__ = ["Program", "check", "load", "once", "training_factor"]

_ROOMS = {
    "datasets",
    "distributions",
    "inference",
    "likelihoods",
    "models",
    "networks",
    "plots",
    "posteriors",
    "priors",
}
_HOMES = {
    "Program": ".program",
    "check": ".inference.checking",
    "load": ".app.run",
    "once": ".sharing",
    "training_factor": ".factors",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_HOMES})
