"""How many data a loss stands for: a data plate that is larger than the batch scales it up."""

from collections.abc import Sequence
from typing import Any

import torch
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae.arguments import signature_of
from pyro_vae.batches import num_data
from pyro_vae.inference.estimators import Estimator
from pyro_vae.inference.evaluation import points_of_guide
from pyro_vae.inference.terms import (
    collect,
    data_plate,
    leaving_no_trace,
    otherwise_masked,
    sample_sites,
    traces,
)
from pyro_vae.parameters import own_parameters
from pyro_vae.program import Program

from .observed import Observed, observed_parts

__all__ = ["Counts"]


class Counts:
    """Tells how many data the loss of a batch stands for.

    In `pyro.plate("data", 60_000, subsample=x)` it stands for 60,000, whatever the batch. To find
    the plate, the program runs once for each number of data in a batch; that changes nothing.
    """

    def __init__(self, program: Program, loss: Any) -> None:
        self.program, self.loss = program, loss
        self._plates: dict[int, Any] = {}
        self.observed: list[Observed] = []
        self.num_latents = 0  # of each datum, where the loss is an Estimator
        self.has_bounds = True  # whether the value of a bound is one on log p(x)

    def weight(self, batch: Sequence[Any]) -> float:
        """The factor that makes the loss of a batch the sum over the data in it."""
        size, plate = num_data(batch), self._plate(batch)
        full_size = (plate and plate.full_size) or size
        return size / max(size, full_size)

    def has_columns(self, batch: Sequence[Any]) -> bool:
        """Whether each datum has a bound of its own."""
        plate = self._plate(batch)
        return plate is not None and plate.size == num_data(batch)

    def _plate(self, batch: Sequence[Any]) -> Any:
        if num_data(batch) not in self._plates:
            self.look(batch)
        return self._plates[num_data(batch)]

    def look(self, batch: Sequence[Any]) -> None:
        """Runs the program on a batch, and keeps its data plate and what it observes.

        The modules stay in training or evaluation mode, as they are: in evaluation mode a batch
        normalization that has seen no data yet may return nonsense.

        Raises:
            TypeError: If model or guide do not take as many arguments as the batch has.
            ValueError: If the program cannot take the batch, or takes one datum for many.
        """
        _check_arguments(self.program, batch)
        model, guide = self.program.model, self.program.guide
        with torch.no_grad(), leaving_no_trace(), own_parameters(model, guide):
            sites, plate = self._run(batch)
        for site in sites:
            _check_not_repeated(site, plate)
        self._plates[num_data(batch)] = plate
        self.observed = observed_parts(batch, sites) or self.observed  # none where unchecked

    def _run(self, batch: Sequence[Any]) -> tuple[list[Any], Any]:
        model, guide = self.program.model, self.program.guide
        # Other losses may sum latents out, which `collect` refuses.
        if isinstance(self.loss, Estimator):
            terms = collect(model, guide, batch, {})
            factors = (*terms.factors, *terms.global_factors)
            no_bound = points_of_guide(terms) or factors or otherwise_masked(*terms.traces)
            self.has_bounds = not no_bound
            self.num_latents = len(terms.latents)
            return sample_sites(terms.traces[0]), terms.layout.data
        trace, _ = traces(model, guide, batch, {})
        sites = sample_sites(prune_subsample_sites(trace))
        return sites, data_plate(sites, num_data(batch))


def _check_not_repeated(site: Any, plate: Any) -> None:
    """Refuses a value of one datum in a plate whose size is that of the datum.

    Each number of the datum would count as a datum.
    """
    if not site["is_observed"] or plate is None or plate.size < 2:
        return
    value, events = site["value"], site["fn"].event_shape
    lacks_plate = isinstance(value, Tensor) and value.dim() - len(events) < -plate.dim
    if lacks_plate and tuple(events[:1]) == (plate.size,):
        raise ValueError(
            f"site {site['name']!r} observes a value of shape {tuple(value.shape)}, one datum, in "
            f"the plate {plate.name!r} of {plate.size}, and would count it {plate.size} times; "
            "give data (N, *x_shape), such as x[None] for one datum"
        )


def _check_arguments(program: Program, batch: Sequence[Any]) -> None:
    for role in ("model", "guide"):
        signature = signature_of(getattr(program, role))
        try:
            signature.bind(*batch)
        except TypeError as error:
            takes = sum(p.kind <= p.POSITIONAL_OR_KEYWORD for p in signature.parameters.values())
            raise TypeError(
                f"the batches have {_count(len(batch), 'part')}, but {role} takes "
                f"{_count(takes, 'argument')}; give the data alone, such as "
                "[x for x, y in loader], or let model and guide take all parts"
            ) from error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
