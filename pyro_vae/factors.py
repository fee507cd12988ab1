"""Training factors: what a program states beside its density, to be descended and not judged.

The classifier's term of M2, the commitment of a code, a perceptual distance: none is a density of
anything, so no bound on log p(x) may count it. The program states such a term without a weight; how
much it weighs is the estimator's business, as beta is: `Trace_ELBO(factors={"label": 50.0})`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
from pyro.distributions import Unit
from pyro.poutine.messenger import Messenger
from torch import Tensor

__all__ = ["is_training_factor", "signed", "training_factor", "with_weights"]

_MARK = "training_factor"


def training_factor(name: str, value: Tensor, *, guide: bool = False) -> None:
    """Adds a term to what a training climbs, and to nothing that a program is judged by.

    Every estimator of `pyro_vae.inference` adds the mean of `value` over its draws, times the
    weight that it has for this name (its argument `factors`; 1 where it has none), to the sum of
    its bounds. In a plate of the data there is one term for each datum, which is scaled with the
    plate; outside it the term counts once. It enters no importance weight and no KL, and
    `evaluate`, `log_likelihood` and the validation of `fit` leave it out, in whatever mode the
    program is.

    To an ELBO of Pyro's own it is a plain `pyro.factor` of weight 1, and counted in its value. A
    `pyro.factor` without this mark keeps Pyro's meaning everywhere: a part of the joint density.

    Args:
        name: The name of the site, by which the estimator weighs it.
        value: The term, in nats, that is to go up: of the shape of the plates that it stands in.
        guide: Whether it is stated in a guide, whose factors Pyro takes off and does not add.

    Example:
        >>> import pyro.distributions as dist
        >>> linear = torch.nn.Linear
        >>> classifier, encoder, decoder = linear(3, 4), linear(3, 2), linear(2, 3)
        >>> def model(x, y):
        ...     with pyro.plate("data", len(x)):
        ...         log_q = dist.Categorical(logits=classifier(x)).log_prob(y)
        ...         training_factor("label", log_q)
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)
        >>> def guide(x, y):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(encoder(x), 1.0).to_event(1))
        >>> x, y = torch.zeros(5, 3), torch.zeros(5, dtype=torch.long)
        >>> estimator = Trace_ELBO(factors={"label": 50.0})
        >>> estimator.differentiable_loss(model, guide, x, y).backward()
        >>> bool(classifier.weight.grad.isfinite().all())
        True
    """
    # In a guide Pyro has to be told that no score function is wanted of the term.
    unit = Unit(-value, has_rsample=True) if guide else Unit(value)
    infer = {"is_auxiliary": True, _MARK: "guide" if guide else "model"}
    pyro.sample(name, unit, obs=unit.sample(), infer=infer)


def is_training_factor(site: Mapping[str, Any]) -> bool:
    """Whether a sample site is a training factor."""
    return _MARK in site["infer"]


def signed(role: str, site: Mapping[str, Any], term: Tensor) -> Tensor:
    """The term of a training factor, which is to go up, from its log density in a trace.

    Args:
        role: Whether the trace is of the "model" or the "guide".
        site: The site.
        term: Its log density, however summed.

    Raises:
        ValueError: If it is stated as one of the other.
    """
    stated = site["infer"][_MARK]
    if stated != role:
        raise ValueError(
            f"the {role} states the training factor {site['name']!r} as one of the {stated}; write "
            f"training_factor({site['name']!r}, value{', guide=True' if role == 'guide' else ''})"
        )
    return term if role == "model" else -term


def with_weights(
    function: Callable[..., Any], weights: Mapping[str, float], otherwise: float = 1.0
) -> Callable[..., Any]:
    """A model or a guide whose training factors are multiplied by weights.

    Args:
        function: The model or the guide.
        weights: By name.
        otherwise: Of those without a name there; 0 leaves them out.
    """
    return _Weighing(weights, otherwise)(function)


class _Weighing(Messenger):
    """Multiplies training factors by their weights."""

    def __init__(self, weights: Mapping[str, float], otherwise: float) -> None:
        super().__init__()
        self.weights, self.otherwise = weights, otherwise

    def _pyro_sample(self, message: Any) -> None:
        if not is_training_factor(message):
            return
        weight = self.weights.get(message["name"], self.otherwise)
        unit = message["fn"]
        # A term of weight 0 may be infinite.
        term = weight * unit.log_factor if weight else unit.log_factor.new_zeros(unit.batch_shape)
        message["fn"] = Unit(term, has_rsample=unit.has_rsample)
