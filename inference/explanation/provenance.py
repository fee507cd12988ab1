"""Follows each draw and each argument through a program, to tell what depends on what.

It is Pyro's own way, of `pyro.infer.inspect`, with arguments followed as well as draws.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from pyro.ops.provenance import detach_provenance, get_provenance, track_provenance
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyro_vae.factors import is_training_factor
from pyro_vae.inference.terms import inner, is_deterministic

__all__ = ["Provenance"]

Source = tuple[str, str]  # ("site", its name) or ("argument", its name)

# What takes shape, type and device of a tensor alone, and none of its numbers.
_BLIND = {
    *(getattr(torch, f"{n}_like") for n in ("empty", "full", "ones", "rand", "randn", "zeros")),
    *(getattr(Tensor, f"new_{n}") for n in ("empty", "full", "ones", "tensor", "zeros")),
}


class Provenance(Messenger):
    """Follows what is sampled and given while it is entered.

    Args:
        batch: The arguments of the program, by name.
    """

    def __init__(self, batch: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.batch = batch
        # By the identity of the distributions, which are kept so that none is another's later.
        self._parents: dict[int, tuple[Any, frozenset[Source]]] = {}
        self._observing: dict[str, dict[str, None]] = {name: {} for name in batch}
        self._mode = _Blindness()

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments, to be given to model and guide."""
        pairs = self.batch.items()
        return tuple(track_provenance(x, frozenset({("argument", n)})) for n, x in pairs)

    def of(self, site: Mapping[str, Any]) -> frozenset[Source]:
        """What the distribution of a site in a trace depends on directly."""
        return self._parents[id(site["fn"])][1]

    def observing(self, argument: str) -> tuple[str, ...]:
        """The sites that observe an argument, or something made of it."""
        return tuple(self._observing[argument])

    def __enter__(self) -> Self:
        """Begins to follow."""
        self._mode.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> Any:
        """Ends it."""
        self._mode.__exit__(*raised)
        return super().__exit__(*raised)

    def _pyro_post_sample(self, message: Any) -> None:
        if site_is_subsample(message) or is_training_factor(message):
            return
        if is_deterministic(message) or message["infer"].get("is_auxiliary"):
            return  # others depend on what it is made of
        name, value = message["name"], message["value"]
        of_value = get_provenance(value)
        value = detach_provenance(value)
        fn = message["fn"]
        self._parents[id(fn)] = fn, get_provenance(inner(fn).log_prob(value))  # masks aside
        if message["is_observed"]:
            for kind, argument in of_value:
                if kind == "argument":
                    self._observing[argument][name] = None
        message["value"] = track_provenance(value, frozenset({("site", name)}))


class _Blindness(TorchFunctionMode):
    """Lets nothing be followed where a tensor is made in the shape of another."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _BLIND and args:
            args = (detach_provenance(args[0]), *args[1:])
        return func(*args, **(kwargs or {}))
