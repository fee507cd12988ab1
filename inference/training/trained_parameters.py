"""The parameters that an `SVI` trains: those that its eager steps have met.

As in Pyro these are the param sites that no handler hides. Beside them they are what the loss
depends on and Pyro does not have in its store: the parameters of plain modules.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import pyro
import torch
from pyro.params.param_store import normalize_param_name
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pyro_vae.inference.graphs import Parameters
from pyro_vae.inference.terms import Function
from pyro_vae.parameters import (
    belongs_to_a_module,
    claim,
    frozen_parameters,
    initial_value,
    is_added,
    keep_apart,
    leaves,
    named_parameters,
    put_into_store,
    stored_name,
    unconstrained,
)

from .adam import is_dense

__all__ = ["Trained"]

# Of sets of parameters, to which a training may come back, as one that freezes a network in turns.
# A set of the same number finds the graphs that were made for it.
_KEPT_VERSIONS = 4


class _Stored(NamedTuple):
    """A parameter's place in Pyro's store."""

    name: str
    constraint: Any
    owned: bool  # by a module


class Trained:
    """What the steps of one `SVI` train.

    A kind of call, say with labels or without, may meet parameters that others do not.

    Attributes:
        parameters: The unconstrained parameters of all kinds of calls, by name.
        frozen: Parameters of the program's modules that are not to be trained.
        version: A number that differs where other tensors take part.
    """

    def __init__(self, model: Function, guide: Function) -> None:
        self.model, self.guide = model, guide
        self.parameters: dict[str, Tensor] = {}
        self.frozen: list[Tensor] = []
        self.version = 0
        self._numbers = count(1)
        self._versions: dict[int, list[Tensor]] = {}
        self._of_kind: dict[Any, dict[str, Tensor]] = {}
        self._for_graphs: dict[Any, Parameters] = {}
        self._stored: dict[str, _Stored] = {}
        self._has_plain = False  # whether some are parameters of plain modules

    def of(self, kind: Any) -> dict[str, Tensor]:
        """The parameters of a kind of call, by name, as of the last `look` at it."""
        return self._of_kind[kind]

    def for_graphs(self, kind: Any) -> Parameters:
        """The same, and those of all kinds, as graphs take them."""
        parameters = self._for_graphs.get(kind)
        if parameters is None:
            tensors, stepped = list(self.parameters.values()), list(self.of(kind).values())
            parameters = self._for_graphs[kind] = Parameters(tensors, stepped, self.version)
        return parameters

    def clear_gradients(self) -> None:
        """Takes the gradients out of the parameters of all kinds of calls."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def prepare(self, kind: Any) -> None:
        """Has a program's modules run with parameters of their own, before a new kind of call."""
        if kind not in self._of_kind:
            keep_apart(self.model, self.guide)
            self.frozen = frozen_parameters(self.model, self.guide)

    def is_current(self, kind: Any) -> bool:
        """Whether a call of this kind would still meet the parameters that it met before.

        If so, a graph is right without a run of the program. A name in the store that another
        module has taken since is given back to this program's module.
        """
        if kind not in self._of_kind:
            return False
        params = pyro.get_param_store()._params
        for name, (stored, constraint, owned) in self._stored.items():
            parameter = self.parameters[name]
            present = params.get(stored)
            if present is not parameter:
                if present is None or not owned or not belongs_to_a_module(present):
                    return False  # the store was cleared, or a value was assigned
                put_into_store(stored, parameter, constraint=constraint)
        return all(parameter.requires_grad for parameter in self.parameters.values()) and not any(
            parameter.requires_grad for parameter in self.frozen
        )

    def look(self, kind: Any, trace: Any, loss: Tensor | None, arguments: Any) -> None:
        """Takes the parameters that a step has met as those of its kind of call.

        Args:
            kind: The kind of call.
            trace: Of the param sites of the step that no handler hides.
            loss: The loss, with its autograd graph; None if the gradient is in the parameters.
            arguments: Of model and guide, whose tensors are data.
        """
        sites = [site for site in trace.nodes.values() if _is_trainable(site["value"])]
        reached = self._reached(kind, loss, [site for site in sites if _differs(site)])
        ids = {id(leaf) for leaf in reached}
        found: dict[str, Tensor] = {}
        for site in sites:
            parameter, own = unconstrained(site["value"]), initial_value(site)
            if _differs(site) and id(own) in ids and is_dense(own):
                parameter = own  # a plain module's, while the store had another's under its name
                put_into_store(site["name"], own)
            elif _differs(site) and id(own) in ids:
                ids.discard(id(own))
                _warn_of_copy(site["name"])
            elif _differs(site) and loss is not None and id(parameter) not in ids:
                continue  # of another module, whose name this step's unused parameter has
            self._add(found, site["name"], parameter, own is parameter)
        self._add_plain(found, [leaf for leaf in reached if id(leaf) in ids], arguments)
        self._set(kind, found)

    def _reached(
        self, kind: Any, loss: Tensor | None, differing: Sequence[Any]
    ) -> Sequence[Tensor]:
        """The tensors that the loss depends on, where that tells more than the sites.

        A walk through the autograd graph costs each eager step time, so that it is taken once for a
        kind of call, and after that only where the sites may not say everything.
        """
        if loss is None:
            candidates = named_parameters(self.model, self.guide).values()
            return [p for p in (*candidates, *map(initial_value, differing)) if _has_grad(p)]
        if differing or self._has_plain or kind not in self._of_kind:
            return leaves(loss)
        return []

    def _add(self, found: dict[str, Tensor], stored: str, parameter: Tensor, owned: bool) -> None:
        if any(parameter is other for other in found.values()):
            return  # under another name
        name, store = normalize_param_name(stored), pyro.get_param_store()
        found[name] = parameter
        if store._params.get(stored) is parameter:
            owned = owned or belongs_to_a_module(parameter)
            self._stored[name] = _Stored(stored, store._constraints[stored], owned)
            if owned:
                claim(parameter)
        elif stored not in store or is_added(store._params[stored]):
            # of a program that keeps its parameters itself; what the run has assigned stays
            put_into_store(stored, parameter, added=True)

    def _add_plain(
        self, found: dict[str, Tensor], reached: Iterable[Tensor], arguments: Any
    ) -> None:
        """Adds the parameters of plain modules: what is neither data nor in Pyro's store.

        What a handler hides is in the store, and so is left out.
        """
        seen = {id(parameter) for parameter in (*found.values(), *tree_leaves(arguments))}
        names: dict[int, str] = {}
        for leaf in reached:
            if id(leaf) in seen or not leaf.requires_grad or stored_name(leaf) is not None:
                continue
            seen.add(id(leaf))
            if not names:
                named = named_parameters(self.model, self.guide)
                names = {id(parameter): name for name, parameter in named.items()}
                names |= {id(parameter): name for name, parameter in self.parameters.items()}
            name = names.get(id(leaf)) or f"parameter_{len(self.parameters) + len(found)}"
            found[name] = leaf
            self._has_plain = True
            put_into_store(name, leaf, added=True)

    def _set(self, kind: Any, found: dict[str, Tensor]) -> None:
        """Makes these the parameters of a kind, and gives the set of all a number."""
        self._of_kind[kind] = found
        self._for_graphs.clear()
        merged = {n: p for n, p in {**self.parameters, **found}.items() if p.requires_grad}
        if not _are_same(merged.values(), self.parameters.values()):
            self.version = self._version_of(list(merged.values()))
            self.frozen = frozen_parameters(self.model, self.guide)
        self.parameters = merged
        self._stored = {name: place for name, place in self._stored.items() if name in merged}

    def _version_of(self, parameters: list[Tensor]) -> int:
        """The number that these tensors had before, or a new one."""
        for number, earlier in self._versions.items():
            if _are_same(earlier, parameters):
                return number
        number = next(self._numbers)
        self._versions[number] = parameters
        for old in list(self._versions)[:-_KEPT_VERSIONS]:
            del self._versions[old]
        return number


def _are_same(some: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    return list(map(id, some)) == list(map(id, others))


def _is_trainable(value: Any) -> bool:
    parameter = unconstrained(value) if isinstance(value, Tensor) else None
    return parameter is not None and parameter.is_leaf and parameter.requires_grad


def _differs(site: Mapping[str, Any]) -> bool:
    """Whether a module's parameter is another tensor than the store has under its name."""
    own = initial_value(site)
    return isinstance(own, nn.Parameter) and own is not unconstrained(site["value"])


def _warn_of_copy(name: str) -> None:
    warnings.warn(
        f"parameter {normalize_param_name(name)!r} has gaps or overlaps in its memory, so that "
        "Pyro's store has a copy of it, and it is not trained; make it contiguous",
        stacklevel=6,
    )


def _has_grad(parameter: Any) -> bool:
    return isinstance(parameter, torch.Tensor) and parameter.grad is not None
