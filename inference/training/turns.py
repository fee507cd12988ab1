"""Turns: a step that trains all parameters, those of the guide alone, or all but these."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_vae.inference.graphs import Graphs, Parameters
from pyro_vae.inference.terms import (
    Function,
    leaving_no_trace,
    sample_sites,
    trace_guide,
    trace_model,
)
from pyro_vae.parameters import leaves, leaving_frozen

from .trained_parameters import Trained

__all__ = ["GuidesOwn", "Turn"]


class GuidesOwn:
    """Tells which parameters are the guide's alone.

    Its draws or log q depend on these, and log p(x, z) at given z does not. What both use belongs
    to the model, such as the encoder behind a `VampPrior`, or the networks that a `LadderVAE`
    shares: a step of the guide leaves p(x, z) as it is.

    Args:
        model: The model.
        guide: Its guide.
        trained: What is trained.
    """

    def __init__(self, model: Function, guide: Function, trained: Trained) -> None:
        self.model, self.guide, self.trained = model, guide, trained
        self._of_model: dict[int, Tensor] = {}  # kept, so that no other tensor gets its id
        self._of_guide: dict[int, Tensor] = {}
        self._looked: dict[Hashable, int] = {}  # at which version of what is trained, by kind

    @property
    def version(self) -> Hashable:
        """What differs where another parameter is met by model or guide."""
        return self.trained.version, len(self._of_model), len(self._of_guide)

    def is_current(self, kind: Hashable) -> bool:
        """Whether the parameters that a kind of call meets are known."""
        return self._looked.get(kind) == self.trained.version

    def look(self, kind: Hashable, args: Any, kwargs: Any) -> None:
        """Runs the program, unless that is known already; all that a run changes stays."""
        if self.is_current(kind):
            return
        self._looked[kind] = self.trained.version
        with (
            leaving_no_trace(),
            leaving_frozen(self.trained.frozen),
            pyro.validation_enabled(False),
        ):
            with torch.no_grad():
                held = trace_guide(self.guide, args, kwargs)
            self._of_model |= _reached(trace_model(self.model, held, args, kwargs))
            self._of_guide |= _reached(trace_guide(self.guide, args, kwargs))

    def __contains__(self, parameter: Tensor) -> bool:
        """Whether a parameter is the guide's alone."""
        return id(parameter) in self._of_guide and id(parameter) not in self._of_model


class Turn:
    """What a step trains, and the graphs of such steps.

    Args:
        trained: The parameters of all steps.
        graphs: Those of this turn; None if its steps run eagerly.
        own: Tells which parameters are the guide's alone; None if the step trains all.
        guides: Whether the turn is the guide's, and not that of all others.
    """

    def __init__(
        self,
        trained: Trained,
        graphs: Graphs | None,
        own: GuidesOwn | None = None,
        *,
        guides: bool = False,
    ) -> None:
        self.trained, self.graphs, self.own, self.guides = trained, graphs, own, guides
        self._for_graphs: dict[Hashable, tuple[Hashable, Parameters]] = {}

    def is_current(self, kind: Hashable) -> bool:
        """Whether a call of this kind would meet the parameters that it met before."""
        known = self.own is None or self.own.is_current(kind)
        return known and self.trained.is_current(kind)

    def of(self, kind: Hashable) -> Mapping[str, Tensor]:
        """The parameters that a step of this kind trains, by name."""
        parameters = self.trained.of(kind)
        if self.own is None:
            return parameters
        mine = {name: p for name, p in parameters.items() if (p in self.own) == self.guides}
        if self.guides and not mine:
            raise ValueError(
                f"none of the parameters {', '.join(parameters)} is the guide's alone, so that it "
                "cannot be trained while the model stands; take steps of both, without guide_steps"
            )
        return mine

    def leave_out_gradients(self, kind: Hashable) -> None:
        """Takes the gradients out of the parameters that have no turn."""
        mine = {id(parameter) for parameter in self.of(kind).values()}
        for parameter in self.trained.parameters.values():
            if self.own is not None and id(parameter) not in mine:
                parameter.grad = None

    def for_graphs(self, kind: Hashable) -> Parameters:
        """The same, and those of all kinds, as graphs take them."""
        every = self.trained.for_graphs(kind)
        if self.own is None:
            return every
        version, found = self._for_graphs.get(kind, (None, every))
        if version != self.own.version:
            version = self.own.version
            found = Parameters(self._mine(every.tensors), self._mine(every.stepped), version)
            self._for_graphs[kind] = version, found
        return found

    def _mine(self, parameters: Iterable[Tensor]) -> list[Tensor]:
        return [p for p in parameters if self.own is None or (p in self.own) == self.guides]


def _reached(trace: Any) -> dict[int, Tensor]:
    """The parameters that draws and log densities of a trace depend on, by id."""
    trace.compute_log_prob()
    found = []
    for site in sample_sites(trace):
        for value in (site["value"], site["log_prob"]):
            if isinstance(value, Tensor) and value.requires_grad:
                found += [value] if value.is_leaf else leaves(value)
    return {id(leaf): leaf for leaf in found}
