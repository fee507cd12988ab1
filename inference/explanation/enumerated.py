"""The ELBO with latents summed out over their values, as `TraceEnum_ELBO` has it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyro.infer
import torch
from torch import Tensor

from pyro_vae.factors import is_training_factor, signed
from pyro_vae.inference.estimators import Addend, Formula, coefficient, symbol
from pyro_vae.inference.terms import data_plate, is_deterministic, sample_sites, weighted
from pyro_vae.program import Program

from .structure import Structure

__all__ = ["enumerated"]

Site = Mapping[str, Any]


def enumerated(
    loss: pyro.infer.TraceEnum_ELBO,
    program: Program,
    args: tuple[Any, ...],
    structure: Structure,
) -> tuple[Formula, tuple[Addend, ...]]:
    """The formula on a batch, and what training factors add to it.

    Args:
        loss: The estimator.
        program: The program, in evaluation mode.
        args: The batch, as model and guide take it.
        structure: The program's.

    Raises:
        ValueError: If latents are enumerated one after the other, drawn several times each, or
            summed out in plates that differ.
    """
    loss = copy.copy(loss)  # which keeps the depth of the plates that it finds
    runs = [
        _Run(model, guide, loss.max_plate_nesting, len(args[0]))
        for model, guide in loss._get_traces(program.model, program.guide, args, {})
    ]
    each = [run.addends(structure) for run in runs]
    found = [_mean(same, loss.num_particles) for same in zip(*(e for e, _ in each), strict=True)]
    factors = [_mean(same, loss.num_particles) for same in zip(*(f for _, f in each), strict=True)]
    beside = tuple(_weighed(loss, addend) for addend in factors)
    summed = ", ".join(runs[0].summed)
    note = (f"the mean over {summed} is exact, a sum over its values",) if summed else ()
    return Formula(tuple(found), symbol=r"\mathrm{ELBO}", notes=note), beside


@dataclass(frozen=True)
class _Run:
    """The traces of model and guide with a batch dimension for each latent that is summed out.

    Args:
        model: The model's.
        guide: The guide's.
        nesting: How many batch dimensions are plates; those further left are summed over.
        num_data: How many rows the data have.
    """

    model: Any
    guide: Any
    nesting: int
    num_data: int

    @property
    def summed(self) -> list[str]:
        """The latents that the guide sums over."""
        return [s["name"] for s in self._sites(self.guide) if _is_enumerated(s)]

    def addends(self, structure: Structure) -> tuple[list[Addend], list[Addend]]:
        """The terms of the bound, and the training factors."""
        self._check()
        of, drawn = structure.notation, {s["name"] for s in self._sites(self.guide)}
        left = [s for s in self._sites(self.model) if s["name"] not in drawn]
        hidden = [s for s in left if _is_enumerated(s)]
        joint = self._depending([site["infer"]["_enumerate_dim"] for site in hidden])
        found: list[Addend] = []
        if hidden:
            product = r"\,".join(of.p(site["name"]) for site in joint)
            over = ", ".join(symbol(site["name"]) for site in hidden)
            latex = rf"\log \sum_{{{over}}} {product}"
            found.append(Addend(of.mean(latex), self._log_sum(joint, hidden)))
        inside = {site["name"] for site in joint}
        for site in self._sites(self.model):
            name = site["name"]
            if site["is_observed"] and name not in inside:
                found.append(Addend(of.mean(of.log_p(name)), self._expected(site["log_prob"])))
        for site in self._sites(self.guide):
            found.append(self._rate(site, structure, name_inside=site["name"] in inside))
        return found, self._training_factors(structure)

    def _rate(self, site: Site, structure: Structure, *, name_inside: bool) -> Addend:
        of, name = structure.notation, site["name"]
        log_q = self._expected(site["log_prob"])
        if name_inside:  # its density in the model is within the sum
            return Addend(of.mean(of.log_q(name)), log_q, -1)
        log_p = self._expected(self.model.nodes[name]["log_prob"])
        return Addend(of.mean(rf"{of.log_q(name)} - {of.log_p(name)}"), log_q - log_p, -1)

    def _training_factors(self, structure: Structure) -> list[Addend]:
        found = []
        for role, trace in (("model", self.model), ("guide", self.guide)):
            for site in filter(is_training_factor, sample_sites(trace)):
                value = signed(role, site, self._expected(site["log_prob"]))
                found.append(Addend(site["name"], value))
        return found

    def _expected(self, term: Tensor) -> Tensor:
        """The mean of a term over the values that the guide sums over, of each datum, (N,)."""
        dims, seen = self._dims(term), set[int]()
        weight = torch.zeros(())
        while dims - seen:
            dim = (dims - seen).pop()
            seen.add(dim)
            for site in self._sites(self.guide):
                if _is_enumerated(site) and site["infer"]["_enumerate_dim"] == dim:
                    log_q = site["fn"].log_prob(site["value"])
                    weight = weight + log_q
                    dims |= self._dims(log_q)
        return self._of_data(weighted(weight.exp(), term) if seen else term)

    def _log_sum(self, joint: Sequence[Site], hidden: Sequence[Site]) -> Tensor:
        """The log of the sum over what the model sums out, of each datum."""
        plates = {frozenset(f.dim for f in site["cond_indep_stack"]) for site in hidden}
        if len(plates) > 1:
            names = [site["name"] for site in hidden]
            raise ValueError(
                f"latents {names} are summed out in plates that differ, which explain does not "
                "write as one sum; judge the program by its loss alone"
            )
        kept = plates.pop()
        total = torch.zeros(())
        for site in joint:
            log_p = site["log_prob"]
            inner = [d for d in range(-min(self.nesting, log_p.dim()), 0) if d not in kept]
            total = total + (log_p.sum(inner, keepdim=True) if inner else log_p)
        for site in hidden:
            total = total.logsumexp(site["infer"]["_enumerate_dim"], keepdim=True)
        return self._expected(total)

    def _depending(self, dims: Sequence[int]) -> list[Site]:
        """The sites of the model that depend on what it sums out, and these."""
        return [s for s in self._sites(self.model) if self._dims(s["log_prob"]) & {*dims}]

    def _dims(self, value: Tensor) -> set[int]:
        """The dimensions of a value that are no plates."""
        return {d for d in range(-value.dim(), -self.nesting) if value.shape[d] > 1}

    def _of_data(self, value: Tensor) -> Tensor:
        """The sum over all dimensions but that of the data, (N,)."""
        frame = data_plate(sample_sites(self.model), self.num_data)
        if frame is None or frame.dim is None:
            return value.sum().reshape(1)
        scale = frame.full_size / frame.size if frame.full_size else 1.0
        if value.dim() < -frame.dim or value.shape[frame.dim] == 1:  # what all data share
            return (value.sum() / (scale * frame.size)).expand(frame.size)
        others = [d for d in range(-value.dim(), 0) if d != frame.dim]
        return (value.sum(others) if others else value) / scale

    def _sites(self, trace: Any) -> list[Any]:
        """The sites that have a density."""
        return [
            s
            for s in sample_sites(trace)
            if not (is_deterministic(s) or is_training_factor(s) or _is_subsample(s))
        ]

    def _check(self) -> None:
        for site in (*self._sites(self.model), *self._sites(self.guide)):
            kind, times = (site["infer"].get(key) for key in ("enumerate", "num_samples"))
            if kind == "sequential" or times:
                raise ValueError(
                    f"latent {site['name']!r} is enumerated one value after the other, or drawn "
                    'several times; explain writes sums of infer={"enumerate": "parallel"} alone'
                )


def _is_subsample(site: Site) -> bool:
    return type(site["fn"]).__name__ == "_Subsample"


def _is_enumerated(site: Site) -> bool:
    return site["infer"].get("_enumerate_dim") is not None


def _mean(addends: Sequence[Addend], num_particles: int) -> Addend:
    total = torch.stack([addend.value for addend in addends]).sum(0)
    return Addend(addends[0].latex, total / num_particles, addends[0].sign)


def _weighed(loss: Any, factor: Addend) -> Addend:
    """A training factor as it is written; its value has its weight already."""
    weight = coefficient(getattr(loss, "factors", {}).get(factor.latex, 1.0))
    return Addend(weight + symbol(factor.latex), factor.value)
