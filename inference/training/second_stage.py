"""What `fit` steps on where a program can say once and for all what its first stage says."""

from typing import Any

from torch import Tensor

from pyro_vae.datasets import Split

__all__ = ["on_latents"]


def on_latents(program: Any, data: Any, *, judged: bool = False) -> tuple[Any, Any]:
    """The program to take steps on, and its data: those given, unless the program knows better.

    Args:
        program: A program; one such as `Refit` has a method `on_latents(data)` that returns a
            program with the same loss and parameters, and its data, or None.
        data: The data.
        judged: Whether they are to be judged, for which the loss must be the same number and not
            just have the same mean: the one returned has `of_codes` if it is.
    """
    find = getattr(program, "on_latents", None)
    split = Split(data) if isinstance(data, Tensor) and data.dim() else data
    found = find(split) if callable(find) and isinstance(split, Split) else None
    if found is None or (judged and not getattr(found[0], "of_codes", False)):
        return program, data
    return found
