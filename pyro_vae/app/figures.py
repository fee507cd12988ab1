"""The figures of a run: samples, reconstructions, curves, interpolations, the latent space."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae import plots
from pyro_vae.inference import decode, encode, reconstruct_layers, sample
from pyro_vae.inference.evaluation import Temperature, discrete_latents
from pyro_vae.program import Program

from .generation import interpolated, labels_to_sample, moved, reconstructed

__all__ = [
    "arithmetic",
    "beside",
    "interpolation",
    "latent_space",
    "reconstructions",
    "samples",
    "save",
]

_MOST_COLUMNS = 20
_DOTS_PER_INCH = 150


def samples(
    program: Program,
    num_samples: int,
    x_shape: Sequence[int],
    *,
    num_classes: int | None = None,
    label: int | None = None,
    mean: bool = True,
    temperature: Temperature = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    ddim_steps: int | None = None,
    dtype: torch.dtype | None = None,
) -> Figure:
    """Samples from the prior, through the decoder; of a program `model(x, y)` one row a label.

    Args:
        program: What to sample from.
        num_samples: How many.
        x_shape: The shape of one datum.
        num_classes: The number of labels that a program `model(x, y)` knows.
        label: The one label to show.
        mean: False draws x ~ p(x | z) instead of showing its mean.
        temperature: As of `pyro_vae.inference.sample`.
        top_k: Likewise.
        top_p: Likewise.
        ddim_steps: Likewise.
        dtype: Of the data, where they are whole numbers.

    Raises:
        ValueError: If there is no such label.
    """
    options: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "ddim_steps": ddim_steps,
        "dtype": dtype,
    }
    y = labels_to_sample(program, num_samples, num_classes, label)
    if y is None:
        x = sample(program, num_samples, x_shape, mean=mean, **options).cpu()
        return plots.grid(x, levels=levels(x), title=_what_is_sampled("z", mean, temperature))
    x = sample(program, len(y), x_shape, y=y, mean=mean, **options).cpu()
    title = _what_is_sampled("z, y", mean, temperature)
    if label is not None:
        return plots.grid(x, levels=levels(x), title=f"{title}, $y = {label}$")
    labels = y.unique().tolist()
    rows = [f"$y = {label}$" for label in labels]
    columns = len(y) // len(labels)
    return plots.grid(x, columns=columns, row_labels=rows, levels=levels(x), title=title)


def _what_is_sampled(given: str, mean: bool, temperature: Temperature) -> str:
    prior = r"p(z \mid y)" if "y" in given else "p(z)"  # which some programs have equal for all y
    at = "" if temperature == 1 else f" at temperature {temperature}"
    if mean:
        return rf"means of $p(x \mid {given})$, $z \sim {prior}${at}"
    return rf"draws $x \sim p(x \mid {given})$, $z \sim {prior}${at}"


def reconstructions(program: Program, x: Tensor, y: Tensor | None = None) -> Figure:
    """Data above their reconstructions."""
    return beside(x, reconstructed(program, x, y))


def beside(x: Tensor, made: Tensor) -> Figure:
    """Data above their reconstructions, which are made already."""
    return plots.pairs(x.cpu(), made.cpu(), levels=levels(x))


def layers(
    program: Program, x: Tensor, y: Tensor | None = None, *, temperature: Temperature = 0.0
) -> Figure:
    """Up to 20 data above what the top latent alone makes of them, the top two, ... and all."""
    x, y = x[:_MOST_COLUMNS], None if y is None else y[:_MOST_COLUMNS]
    rows = reconstruct_layers(program, x, y, temperature=temperature)
    top, *others = rows
    labels = ["data", top, *(f"and {name}" for name in others)]
    return plots.grid(
        torch.cat([x, *rows.values()]).cpu(),
        columns=len(x),
        row_labels=labels,
        levels=levels(x),
        title=f"data, what {top} alone says of them, and what each latent below adds",
    )


def traversal(
    program: Program,
    x: Tensor,
    y: Tensor | None = None,
    *,
    site: str | None = None,
    num: int = 8,
    steps: int = 7,
    reach: float = 3.0,
    datum: int | None = 0,
) -> Figure:
    """A row for each number of a latent that moves, all else fixed; arguments as of `moved`."""
    options: dict[str, Any] = {"num": num, "steps": steps, "reach": reach, "datum": datum}
    site, found = moved(program, x, y, site=site, **options)
    numbers = found.numbers.tolist()
    if found.rates is None:
        labels = [f"{site}[{i}]" for i in numbers]
    else:
        labels = [f"{site}[{i}], {r:.2f}" for i, r in zip(numbers, found.rates, strict=True)]
    whose = "a draw of the prior" if datum is None else f"datum {datum}"
    rates = "" if found.rates is None else "; beside each its rate, in nats"
    return plots.grid(
        found.x.flatten(0, 1).cpu(),
        columns=steps,
        row_labels=labels,
        column_labels=[f"{step:+.3g}" if step else "0" for step in found.offsets.tolist()],
        levels=levels(x),
        title=f"{whose}, a number of {site} moved by standard deviations of its prior{rates}",
    )


def levels(x: Tensor) -> tuple[float, float]:
    """What is black and what white in images: 0 and 1, or the least and the greatest of others."""
    values = x[x.isfinite()].float()
    if not values.numel() or -0.5 <= values.min() and values.max() <= 1.5:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def interpolation(
    program: Program,
    start: Tensor,
    stop: Tensor,
    y: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    *,
    steps: int,
) -> Figure:
    """A picture of `interpolated`, the data themselves at both ends."""
    between = interpolated(program, start, stop, y, steps=steps)
    path = torch.cat([start.cpu()[:, None], between, stop.cpu()[:, None]], dim=1)
    return plots.interpolation(path, levels=levels(torch.stack([start, stop])))


def arithmetic(
    program: Program,
    x: Tensor,
    examples: Tensor,
    has: Tensor,
    *,
    weights: Sequence[float],
    name: str = "the attribute",
) -> Figure:
    """Data with an attribute added: each at z + weight * (mean z with it - mean z without it).

    Args:
        program: A program `model(x)`.
        x: The data to change, (N, *x_shape).
        examples: Data with and without the attribute, (M, *x_shape).
        has: Which of the examples have it, (M,).
        weights: How much of it to add; one column each.
        name: What the attribute is called.

    Raises:
        ValueError: If none or all examples have it, or latents are discrete.

    Reference:
        Larsen et al., 2016, https://arxiv.org/abs/1512.09300, section 4.1.1
    """
    if has.all() or not has.any():
        raise ValueError("examples with and without the attribute are needed, and here is one kind")
    discrete = discrete_latents(program, x)
    if discrete:
        raise ValueError(f"latents {discrete} are discrete, so nothing can be added to them")
    means = {
        name: (z[has].mean(0), z[~has].mean(0)) for name, z in encode(program, examples).items()
    }
    z = encode(program, x)
    columns = [x]
    for weight in weights:
        moved = {name: z[name] + weight * (means[name][0] - means[name][1]) for name in z}
        columns.append(decode(program, moved, len(x), x.shape[1:], dtype=x.dtype))
    return plots.grid(
        torch.stack(columns, 1).flatten(0, 1).cpu(),
        columns=len(columns),
        column_labels=["data", *(f"{weight:+g}" if weight else "0" for weight in weights)],
        levels=levels(x),
        title=f"the data, and so many times {name} added to their latents",
    )


def latent_space(
    program: Program,
    x: Tensor,
    y: Tensor | None,
    labels: Tensor | None,
    *,
    columns: int = 20,
    pictures: bool = True,
) -> Figure:
    """What a 2-D latent decodes to, over a grid; of others, where the data's latents lie.

    One number is drawn as a histogram, two as a plane, and more as the plane of their first two
    principal components. Latents that all data share are left out.

    Args:
        program: The program.
        x: Data, (N, *x_shape).
        y: Their labels, for a program `model(x, y)`.
        labels: What to colour them by.
        columns: Of the grid.
        pictures: Whether the data are such that what latents decode to can be shown on a grid.

    Raises:
        ValueError: If the guide draws no latent for each datum.
    """
    latents = {n: z for n, z in encode(program, x, y).items() if z.dim() and len(z) == len(x)}
    if not latents:
        raise ValueError(
            "the guide draws no latent with a row for each datum, so there is no latent space to "
            'show; draw one in pyro.plate("data", len(x))'
        )
    (name, z), *others = latents.items()
    continuous = not discrete_latents(program, x, y)
    if not others and z.shape[1:] == (2,) and continuous and y is None and pictures:
        return _manifold(program, name, z, x, columns)
    return _spread(latents, labels)


def _manifold(program: Program, name: str, z: Tensor, x: Tensor, columns: int) -> Figure:
    reach = min(float(z.abs().quantile(0.99)), 3.0)  # where nearly all of the prior lies
    steps = torch.linspace(-reach, reach, columns)
    points = torch.cartesian_prod(steps, steps).flip(1).to(z)  # z_2 row by row
    images = decode(program, {name: points}, len(points), x.shape[1:], dtype=x.dtype)
    return plots.manifold(
        images.cpu(),
        extent=(-reach, reach),
        labels=_axes([name]),
        levels=levels(x),
        title=rf"means of $p(x \mid z)$ over the plane of {name}",
    )


def _spread(latents: Mapping[str, Tensor], y: Tensor | None) -> Figure:
    """The latents of data as points on a line or in a plane."""
    rows = {name: z.reshape(len(z), -1).float().cpu() for name, z in latents.items()}
    z, y = torch.cat(list(rows.values()), dim=1), None if y is None else y.cpu()
    title = f"the guide's {_names(rows)} of {len(z):,} data"
    if z.shape[1] == 1:
        return plots.histogram(z[:, 0], y, label=next(iter(rows)), title=title)
    if z.shape[1] == 2:
        return plots.scatter(z, y, labels=_axes(list(rows)), title=title)
    z = z - z.mean(0)
    _, sizes, directions = torch.linalg.svd(z, full_matrices=False)
    shares = sizes.square() / sizes.square().sum().clamp_min(1e-30)
    title += (
        f": of {z.shape[1]} dimensions the plane with most of the variance, "
        f"{shares[0]:.0%} and {shares[1]:.0%}"
    )
    labels = ("first principal component", "second principal component")
    return plots.scatter(z @ directions[:2].T, y, labels=labels, title=title)


def _names(names: Mapping[str, Tensor]) -> str:
    first, *others = names
    return f"{first} to {list(others)[-1]}" if len(names) > 3 else ", ".join(names)


def _axes(names: Sequence[str]) -> tuple[str, str]:
    """The names of two numbers: of two latents, or of one that has two."""
    if len(names) == 2:
        return names[0], names[1]
    name = names[0]
    return (f"${name}_1$", f"${name}_2$") if name.isalpha() else (f"{name}[0]", f"{name}[1]")


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
    return path
