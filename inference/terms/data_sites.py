"""Which observed sites of a model are its data, and which number of x each of their numbers is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro.poutine.uncondition_messenger import UnconditionMessenger
from torch import Tensor

from pyro_vae.distributions import is_estimated

from .plates import Site, data_plate, is_factor
from .wrappers import inner

__all__ = [
    "Observations",
    "Part",
    "Unobserving",
    "data_parts",
    "density",
    "differing",
]

Observations = Mapping[str, Tensor]  # by site


@dataclass(frozen=True)
class Part:
    """A site that observes numbers of x.

    Args:
        name: Its name.
        index: For each number that it observes, which of x, flattened, that is.
        exact: Whether it observes them as they are, and not a function of them.
    """

    name: str
    index: Tensor
    exact: bool

    def take(self, x: Tensor) -> Tensor:
        """What the site observes of x."""
        return x.flatten()[self.index]

    def place(self, value: Tensor, x: Tensor) -> None:
        """Writes a value of the site to where it stands in x."""
        x.view(-1)[self.index.flatten()] = self.fit(value).to(x.dtype).flatten()

    def fit(self, value: Tensor) -> Tensor:
        """A value of the site in the shape of what it observes."""
        if value.numel() == self.index.numel():
            return value.reshape(self.index.shape)
        return value.expand(self.index.shape)

    def fits(self, value: Tensor) -> bool:
        """Whether a value of the site has the shape of what it observes."""
        try:
            self.fit(value)
        except RuntimeError:
            return False
        return True


class Unobserving(UnconditionMessenger):
    """Draws what a model observes, but for its deterministic sites and factors.

    `observations` holds what it would have observed, by site.
    """

    def __init__(self) -> None:
        super().__init__()
        self.observations: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if _is_data(msg):
            if isinstance(msg["value"], Tensor | float | int):
                self.observations[msg["name"]] = torch.as_tensor(msg["value"])
            super()._pyro_sample(msg)


def _is_data(site: Site) -> bool:
    """Whether an observed site holds data or labels: deterministic sites and factors do not."""
    observed = bool(site["is_observed"]) and not site["infer"].get("_deterministic")
    return observed and not is_factor(site)


def data_parts(
    trace: Any, observed: Observations, x: Tensor, others: Observations, other: Tensor
) -> list[Part]:
    """The sites that together observe x, each number once.

    These are sites that observe x, or a view of it; else the one that observes as many numbers,
    which are not the same for another x.

    Args:
        trace: The model's, with its data drawn.
        observed: What it observes of x.
        x: Its data, (N, *x_shape), contiguous, in a storage of their own.
        others: What it observes of another x, if it runs on that.
        other: The other x.

    Raises:
        ValueError: If there are no such sites, or several that might be it.
    """
    if not observed:
        raise ValueError("the model observes nothing; give its data site obs=x")
    views = [
        Part(name, _index(value, x), True) for name, value in observed.items() if _in(value, x)
    ]
    if views:
        parts = _choose(views, x)
        _refuse_rows(trace, parts, x)
        return parts
    _refuse_rows(trace, [Part(name, torch.zeros(0), False) for name in observed], x)
    copies = {name: value for name, value in observed.items() if value.numel() == x.numel()}
    following = {
        name: value
        for name, value in copies.items()
        if name in others and not torch.equal(value, others[name])
    }
    parts = []
    for name, value in (following or copies).items():
        part = Part(name, _rows(trace.nodes[name], value, len(x)), False)
        exact = name in others and _same(part, others[name], other)
        parts.append(Part(name, part.index, exact))
    if not parts:
        shapes = ", ".join(f"{name!r} of shape {tuple(v.shape)}" for name, v in observed.items())
        raise ValueError(
            f"the model observes {shapes}, but {len(x)} data of shape {tuple(x.shape[1:])} were "
            "asked for; make the model observe as many numbers for each datum as it has"
        )
    return _choose(parts, x)


def density(fn: Any, value: Tensor) -> Tensor:
    """The log density of each number of a value, or of the event that it belongs to."""
    fn = inner(fn)
    log_prob = fn.log_prob(value)
    for _ in range(fn.event_dim):
        log_prob = log_prob.unsqueeze(-1)
    return log_prob.expand(value.shape)


def differing(p: Any, q: Any, value: Tensor) -> Tensor:
    """Which numbers of a value have another density under q than under p."""
    if is_estimated(p) or is_estimated(q):  # whose noise is no difference
        with torch.random.fork_rng():
            pair = _with_one_noise(p, value), _with_one_noise(q, value)
    else:
        pair = density(p, value), density(q, value)
    return ~torch.isclose(*pair, rtol=1e-5, atol=1e-6, equal_nan=True)


def _with_one_noise(fn: Any, value: Tensor) -> Tensor:
    torch.manual_seed(0)
    return density(fn, value)


def _in(value: Tensor, x: Tensor) -> bool:
    """Whether a value is x or a view of it."""
    return value.numel() > 0 and (
        value.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    )


def _index(view: Tensor, x: Tensor) -> Tensor:
    """Which number of x each of a view's is."""
    numbers = torch.arange(x.numel(), device=x.device)
    return numbers.as_strided(view.shape, view.stride(), view.storage_offset())


def _rows(site: Site, value: Tensor, num_data: int) -> Tensor:
    """Which number of x each of a copy's is, if it has those of a datum in their order."""
    frame = data_plate([{**site, "is_observed": True}], num_data)
    dim = 0 if frame is None or frame.dim is None else frame.dim - site["fn"].event_dim
    if value.dim() < max(-dim, 1) or value.shape[dim] != num_data:
        return torch.arange(value.numel(), device=value.device).view(value.shape)
    moved = value.movedim(dim, 0)
    return torch.arange(value.numel(), device=value.device).view(moved.shape).movedim(0, dim)


def _same(part: Part, value: Tensor, x: Tensor) -> bool:
    """Whether a value holds the numbers of x themselves."""
    return torch.equal(value.flatten().to(x.dtype), x.flatten()[part.index.flatten()])


def _choose(parts: Sequence[Part], x: Tensor) -> list[Part]:
    whole = [part for part in parts if len(part.index.unique()) == x.numel()]
    if len(whole) > 1:  # by the name that data have everywhere
        whole = [part for part in whole if part.name == "x"] or whole
    if len(whole) == 1:
        return whole
    names = [part.name for part in parts]
    counts = torch.cat([part.index.flatten() for part in parts]).bincount(minlength=x.numel())
    if whole or (counts > 1).any():
        raise ValueError(
            f"sites {names} of the model observe the same data, so it is not known which is to "
            "be shown; call the data site 'x'"
        )
    if (counts == 0).any():
        num_data = len(x)
        raise ValueError(
            f"the model observes {int((counts > 0).sum()) // num_data} of the "
            f"{x.numel() // num_data} numbers of each datum, in sites {names}, so nothing says "
            "what the others are; let it observe all of x"
        )
    return list(parts)


def _refuse_rows(trace: Any, parts: Sequence[Part], x: Tensor) -> None:
    """Refuses sites that hold one datum each."""
    for part in parts:
        frames = trace.nodes[part.name]["cond_indep_stack"]
        sequential = any(not frame.vectorized for frame in frames)
        size = x.numel() // len(x)
        one = part.index.numel() <= size and len((part.index // size).unique()) <= 1
        if sequential and one and len(x) > 1:
            raise ValueError(
                f"data site {part.name!r} stands in a sequential plate and holds one datum; put "
                'the data in `with pyro.plate("data", len(x)):`'
            )
