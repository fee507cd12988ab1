"""Missing entries filled in by importance sampling (Mattei and Frellsen, 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vae.batches import Batches, check_tensors, num_data
from pyro_vae.blame import sentence_of
from pyro_vae.checks import check_sizes
from pyro_vae.inference.evaluation import check_true_weights
from pyro_vae.inference.terms import (
    Particles,
    Terms,
    collect,
    find_particles,
    is_deterministic,
    is_factor,
    sample_sites,
)
from pyro_vae.program import Program, evaluating

from .entries import averages, of_their_kinds
from .weighing import Weighed

__all__ = ["Imputation", "impute"]

_PARTS = (
    "take an encoder and a likelihood for missing entries, such as encoder=ZeroImputed and "
    "likelihood=Mixed(x_shape)"
)


@dataclass(frozen=True)
class Imputation:
    """Data whose missing entries are filled in.

    Args:
        x: The data, (N, *x_shape), with what is missing filled in by `kind`.
        draws: Completed data (num_imputations, N, *x_shape), drawn independently.
        effective_sample_size: To how many draws from the posterior the weighted ones of each datum
            amount, 1 / sum_k v_k^2 for weights v that sum up to 1, (N,); NaN where nothing was
            missing. Near 1, the result hangs on one draw: take more particles.
    """

    x: Tensor
    draws: Tensor
    effective_sample_size: Tensor

    def __repr__(self) -> str:
        """The number of data, of those filled in, and the range of their sample sizes."""
        found = self.effective_sample_size
        found = found[~found.isnan()]
        text = f"Imputation({len(self.x):,} data, {len(found):,} with missing entries"
        if len(found):
            low, middle, high = (f(found).item() for f in (torch.min, torch.median, torch.max))
            text += f", effective sample size {low:.1f} to {high:.1f}, median {middle:.1f}"
        return f"{text})"


def impute(
    program: Program,
    x: Tensor,
    y: Tensor | None = None,
    *,
    kind: Literal["mean", "sample"] = "mean",
    num_particles: int = 1000,
    num_imputations: int = 0,
    batch_size: int = 50,
    max_rows: int = 5_000,
    progress: bool = False,
) -> Imputation:
    """Fills in the entries of data that are NaN, given those that are observed.

        E[x_m | x_o] = sum_k v_k E[x_m | z_k],   v_k = w_k / sum_j w_j,   w_k = p(x_o, z_k) / q(z_k)

    with z_k ~ q(z | x_o). A draw of the missing entries x_m takes z_k with probability v_k, and x_m
    from p(x_m | z_k): sampling importance resampling. Where the guide draws what is missing itself,
    as a latent "x_unobserved" beside the site "x", which is also what Pyro calls it, its draws are
    weighed in place of E[x_m | z_k] and p(x_m | z_k). So does `NotMIWAE`.

    Entries keep their kinds: classes get the most probable one, or a drawn one; counts and grey
    levels the nearest to their mean.

    Args:
        program: A program whose guide takes data with NaN and whose likelihood leaves them out,
            such as a `VAE` with encoder=ZeroImputed and likelihood=Mixed(x_shape). One that is
            trained by `IWAE` is called MIWAE by Mattei and Frellsen.
        x: Floating data (N, *x_shape), NaN where an entry is missing.
        y: Their labels, for a program `model(x, y)`.
        kind: What fills x in: "mean", which has the least squared error, or "sample", which varies
            as data do.
        num_particles: K, the draws of the latents for each datum.
        num_imputations: How many completed data to draw beside, independently given the particles:
            for multiple imputation, where what comes of each tells how much is not known.
        batch_size: Data in one run of the program.
        max_rows: The largest number of data times particles in one run, which bounds the memory.
        progress: Shows a bar with the time left, on a terminal or in a notebook.

    Raises:
        TypeError: If x is no tensor.
        ValueError: If x is not floating; as `log_likelihood`; if the program does not take missing
            entries; or if no site observes all of x.

    Reference:
        Mattei and Frellsen, 2019, https://arxiv.org/abs/1812.02633, section 3.3

    Example:
        >>> vae = VAE((3,), 2, encoder=ZeroImputed, likelihood=Mixed((3,)))
        >>> x = torch.tensor([[0.1, torch.nan, -0.3], [1.0, 2.0, 3.0]])
        >>> impute(vae, x).x.isnan().any()
        tensor(False)
    """
    check_tensors(x, y)
    check_sizes(num_particles=num_particles, batch_size=batch_size, max_rows=max_rows)
    _check(x, kind, num_imputations)
    rows = x.isnan().reshape(len(x), -1).any(1).nonzero()[:, 0]
    num_draws = num_imputations + (kind == "sample")
    filled, draws = x.clone(), x.expand(num_draws, *x.shape).clone()
    sizes = x.new_full((len(x),), torch.nan)
    if len(rows):  # the others are as they are
        labels = None if y is None else y[rows.to(y.device)]
        batches = Batches.of(program, x[rows], labels, batch_size=batch_size)
        chunk = min(max(max_rows // min(len(rows), batch_size), 1), num_particles)
        chunks = [len(part) for part in torch.arange(num_particles).split(chunk)]
        hidden, total = None if progress else True, len(rows) * num_particles
        bar = tqdm(total=total, unit="draw", unit_scale=True, disable=hidden)
        with evaluating(program), bar:
            parts = [
                torch.cat(part, -2)
                for part in zip(*_batches(program, batches, chunks, num_draws, bar), strict=True)
            ]
        means, drawn = (part.to(x).view(*part.shape[:-1], *x.shape[1:]) for part in parts[:2])
        filled[rows] = means.where(x[rows].isnan(), x[rows])
        draws[:, rows] = drawn.where(x[rows].isnan(), x[rows])
        sizes[rows] = parts[2][:, 0].to(x)
    if kind == "sample":
        filled, draws = draws[0], draws[1:]
    return Imputation(filled, draws, sizes)


def _check(x: Tensor, kind: str, num_imputations: int) -> None:
    if kind not in ("mean", "sample"):
        raise ValueError(f"kind must be 'mean' or 'sample', but is {kind!r}")
    if not isinstance(num_imputations, int) or num_imputations < 0:
        raise ValueError(
            f"num_imputations must be a whole number of at least 0, but is {num_imputations!r}"
        )
    if not x.is_floating_point():
        raise ValueError(
            f"x has dtype {x.dtype}, in which no entry can be NaN, as what is missing must be; "
            "give floating data"
        )


def _batches(
    program: Program, batches: Batches, chunks: Sequence[int], num_draws: int, bar: Any
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of each batch the means (N, D), draws (M, N, D) and effective sample sizes (N, 1)."""
    source = _Source.of(program, batches)
    for args in batches.once():
        weighed = Weighed(num_draws)
        for size in chunks:
            weighed.add(*source.of_particles(args, size, draws=num_draws > 0))
            bar.update(size * num_data(args))
        sizes = weighed.effective_sample_size()
        if not sizes.all():
            raise ValueError(
                f"none of {sum(chunks):,} draws of the guide can be the latents of a datum: all "
                "weights are zero; take more particles, or train the program on such data"
            )
        yield source.settled(weighed.mean), weighed.draws, sizes.unsqueeze(-1)


@dataclass(frozen=True)
class _Source:
    """A program, and where its runs tell what missing entries are.

    Args:
        program: The program.
        name: The site whose distribution is that of x, or of what of it is drawn.
        fn: That distribution, in one run.
        is_drawn: Whether the guide draws what is missing.
        particles: How several particles are run.
    """

    program: Program
    name: str
    fn: Any
    is_drawn: bool
    particles: Particles

    @classmethod
    def of(cls, program: Program, batches: Batches) -> "_Source":
        """Looks at one run; refuses a program that does not take missing entries."""
        args = batches.first()
        with torch.random.fork_rng():
            try:
                t = collect(program.model, program.guide, args, {})
            except ValueError as error:
                raise ValueError(
                    f"the program does not take missing entries (NaN): {sentence_of(error)}; "
                    f"{_PARTS}"
                ) from error
            if t.log_w.isnan().any():
                raise ValueError(
                    "the program does not leave missing entries (NaN) out: they make the weights "
                    f"of its draws NaN; {_PARTS}"
                )
            check_true_weights(t, "impute")
            particles = find_particles(program.model, program.guide, args, {})
        name = _data_site(t, args[batches.names.index("x")])
        unobserved = f"{name.removesuffix('_observed')}_unobserved"
        drawn = unobserved in t.latents
        name = unobserved if drawn else name
        return cls(program, name, t.traces[0].nodes[name]["fn"], drawn, particles)

    def settled(self, mean: Tensor) -> Tensor:
        """The numbers (N, D) of their kinds that averages (N, S) stand for."""
        return of_their_kinds(self.fn, mean)

    def of_particles(
        self, args: Sequence[Any], size: int, *, draws: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log weights (K, N), averages (K, N, S), and draws of x (K, N, D) if they are wanted."""
        model, guide = self.program.model, self.program.guide
        t = collect(model, guide, args, {}, num_particles=size, particles=self.particles)
        averaged, values = [], []
        for part in t.parts:
            site = part.traces[0].nodes[self.name]
            fn, draw = site["fn"], site["value"] if self.is_drawn else None
            averaged.append(_rows(part, site, averages(fn, draw)))
            if draws:
                value = fn.sample() if draw is None else draw
                values.append(_rows(part, site, value.reshape(*fn.batch_shape, -1)))
        k, n = t.log_w.shape
        drawn = torch.cat(values).view(k, n, -1) if draws else None
        return t.log_w, torch.cat(averaged).view(k, n, -1), drawn


def _data_site(t: Terms, x: Tensor) -> str:
    """The site of the model that observes all of x, but for what is missing."""
    for site in sample_sites(t.traces[0]):
        is_data = site["is_observed"] and not (is_deterministic(site) or is_factor(site))
        if not is_data or not t.layout.is_local(site):
            continue
        fn = site["fn"]
        value = site["value"].expand(fn.batch_shape + fn.event_shape)
        found = _rows(t, site, value.reshape(*fn.batch_shape, -1))
        observed = ~x.isnan().reshape(len(x), -1)
        if found.shape == observed.shape and torch.equal(
            found[observed].to(x), x.reshape(len(x), -1)[observed]
        ):
            return site["name"]
    raise ValueError(
        "no site of the model observes x as it is, so it is not known which says what is missing; "
        'observe all of x in one site, pyro.sample("x", ..., obs=x)'
    )


def _rows(t: Terms, site: Any, values: Tensor) -> Tensor:
    """Values (*batch, S) of a site as (K N, S)."""
    return t.layout.rows({**site, "fn": dist.Delta(values, event_dim=1), "value": values})
