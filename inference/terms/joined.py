"""The terms of all particles from those of several runs: of chunks, or of one particle each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from .terms import Latent, Terms

__all__ = ["JoinedTerms", "joined", "without_runs"]

_NONE: dict[str, Any] = {"z": None, "p": None, "q": None}


@dataclass(frozen=True)
class JoinedLatent(Latent):
    """A latent of several runs; its draws and distributions stay with them."""

    runs: Sequence[Latent] = ()

    def kl(self) -> Tensor:
        """As in each run, (K, N)."""
        return torch.cat([latent.kl() for latent in self.runs])


@dataclass(frozen=True)
class JoinedTerms(Terms):
    """The terms of several runs, which stay with them for whatever needs a run."""

    runs: tuple[Terms, ...] = ()

    @property
    def parts(self) -> tuple[Terms, ...]:
        """The terms of the runs that these come from."""
        return self.runs

    def log_p_at_detached_draws(self) -> Tensor:
        """As in each run, (K, N)."""
        return torch.cat([run.log_p_at_detached_draws() for run in self.runs])

    def without_score(self, user: str, *, points: bool = False) -> Self:
        """As in each run."""
        return type(self).of(run.without_score(user, points=points) for run in self.runs)

    def gate(self, weight: Tensor) -> None:
        """As in each run."""
        sizes = [run.layout.num_particles for run in self.runs]
        for run, part in zip(self.runs, weight.split(sizes), strict=True):
            run.gate(part)

    def missing_behind_gate(self, value: Tensor, weight: Tensor) -> Tensor | float:
        """As in each run."""
        sizes = [run.layout.num_particles for run in self.runs]
        pairs = zip(self.runs, weight.split(sizes), strict=True)
        return sum(run.missing_behind_gate(value, part) for run, part in pairs)

    @classmethod
    def of(cls, runs: Iterable[Terms]) -> Self:
        """The terms of all particles from those of several runs."""
        runs = tuple(runs)
        first = runs[0]
        return cls(
            **{
                **_fields(first),
                "log_px": _cat(runs, [run.log_px for run in runs]),
                "latents": _latents(runs, [run.latents for run in runs]),
                "global_latents": _latents(runs, [run.global_latents for run in runs]),
                "factors": _sums(runs, [run.factors for run in runs]),
                "global_factors": _sums(runs, [run.global_factors for run in runs]),
                "outside": _sums(runs, [run.outside for run in runs]),
                "runs": runs,
            }
        )


def joined(runs: Iterable[Terms]) -> JoinedTerms:
    """The terms of all particles from those of several runs."""
    return JoinedTerms.of(runs)


def without_runs(t: Terms) -> Terms:
    """The terms alone: draws, distributions and traces, which take the memory, stay behind."""

    def bare(group: Mapping[str, Latent]) -> dict[str, Latent]:
        return {n: Latent(**{**_fields(latent), **_NONE}) for n, latent in group.items()}

    kept = {"latents": bare(t.latents), "global_latents": bare(t.global_latents)}
    return Terms(**{**_fields(t), **kept, "traces": (), "functions": (), "detached": None})


def _fields(value: Latent | Terms) -> dict[str, Any]:
    """The fields that each of its kind has."""
    kind = Latent if isinstance(value, Latent) else Terms
    return {field.name: getattr(value, field.name) for field in fields(kind)}


def _latents(
    runs: Sequence[Terms], groups: Sequence[Mapping[str, Latent]]
) -> dict[str, JoinedLatent]:
    found: dict[str, JoinedLatent] = {}
    for name, first in groups[0].items():
        latents = [group[name] for group in groups]
        sums = {
            "log_p": _cat(runs, [latent.log_p for latent in latents]),
            "log_q": _cat(runs, [latent.log_q for latent in latents]),
        }
        found[name] = JoinedLatent(**{**_fields(first), **_NONE, **sums, "runs": latents})
    return found


def _sums(runs: Sequence[Terms], groups: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Of each name the particles of all runs."""
    return {name: _cat(runs, [group[name] for group in groups]) for name in groups[0]}


def _cat(runs: Sequence[Terms], values: Sequence[Tensor]) -> Tensor:
    """The particles of all runs, (K, N)."""
    pairs = zip(runs, values, strict=True)
    return torch.cat([value.expand(run.layout.num_particles, -1) for run, value in pairs])
