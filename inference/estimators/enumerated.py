"""The ELBO with discrete latents summed out: Pyro's, with weights for training factors."""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pyro.infer

from pyro_vae.factors import is_training_factor, with_weights
from pyro_vae.inference.terms import Function, check_densities, sample_sites

from .factor_weights import FactorWeights, check_names, number

__all__ = ["TraceEnum_ELBO"]


class TraceEnum_ELBO(pyro.infer.TraceEnum_ELBO):
    """The ELBO in which the latents that ask for it are summed over all their values.

    They ask by infer={"enumerate": "parallel"}. It is Pyro's estimator of this name, its loss and
    its gradient, with an argument more: `factors`. As in Pyro its steps run eagerly.

    Args:
        num_particles: Draws of the latents that are not summed out, averaged over.
        max_plate_nesting: How many batch dimensions the program's plates take; by default this is
            found by running it once.
        vectorize_particles: All draws in one run, in a plate; else one run each.
        strict_enumeration_warning: Whether to warn of a program that has nothing to sum out.
        retain_graph: Whether backward keeps the graph.
        factors: The weights of the program's training factors, by name: numbers; 1 for those not
            named. See `pyro_vae.training_factor`.

    Raises:
        ValueError: If a weight is a schedule; when it runs a program that has no training factor of
            a name, or an `EstimatedDensity`, whose sums are no bound.

    Example:
        >>> program = SemiSupervisedVAE((1, 8, 8), latent_dim=2)
        >>> x, y = torch.zeros(5, 1, 8, 8), torch.tensor([3, -1, -1, 7, -1])
        >>> loss = TraceEnum_ELBO(max_plate_nesting=1, factors={"label": 50.0})
        >>> loss.loss(program.model, program.guide, x, y) > 0
        True
    """

    def __init__(
        self,
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        *,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        retain_graph: bool | None = None,
        factors: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        super().__init__(
            num_particles,
            max_plate_nesting,
            vectorize_particles=vectorize_particles,
            strict_enumeration_warning=strict_enumeration_warning,
            retain_graph=retain_graph,
        )
        self.factors = FactorWeights(factors, type(self).__name__)
        schedules = [name for name, weight in self.factors.items() if callable(weight)]
        if schedules:
            raise ValueError(
                f"{type(self).__name__} weighs the factors {schedules} by schedules, but does not "
                "know the step; give numbers"
            )

    def _get_traces(
        self, model: Function, guide: Function, args: Any, kwargs: Any
    ) -> Iterator[tuple[Any, Any]]:
        """The traces of model and guide that Pyro's loss is made of, with weighed factors."""
        weights = {name: number(weight) for name, weight in self.factors.items()}
        weighed = (with_weights(function, weights) for function in (model, guide))
        for pair in super()._get_traces(*weighed, args, kwargs):
            check_densities(pair, type(self).__name__, linear=False)
            sites = (site for trace in pair for site in sample_sites(trace))
            stated = (site["name"] for site in sites if is_training_factor(site))
            check_names(self.factors, stated, type(self).__name__)
            yield pair
