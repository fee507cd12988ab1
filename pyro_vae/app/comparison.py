"""Comparing estimators from the texts of program, data and losses, into a folder.

comparison.json   what was compared, and what came out
snr.png           signal to noise against K
variance.png      the variance of the gradients against K
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyro
import torch

from pyro_vae import plots
from pyro_vae.batches import first, near
from pyro_vae.datasets import DataSource, Split, Tensors
from pyro_vae.inference import Comparison, Trace_ELBO, compare, fit
from pyro_vae.inference.training import check_counts, has_labels
from pyro_vae.program import ProgramModule

from .figures import save
from .prepare import find_device, known_from, preflight
from .run import Run
from .text import name_of, read_data, read_loss, read_program

__all__ = ["LOSSES", "Settings", "free_folder", "particles", "run", "write"]

RESULT = "comparison.json"
# Draws side by side, as IWAE has them, so that the times can be compared.
LOSSES = (
    "Trace_ELBO(vectorize_particles=True)",
    "TraceMeanField_ELBO(vectorize_particles=True)",
    "STL(vectorize_particles=True)",
    "IWAE",
    "DReG",
)


@dataclass(frozen=True)
class Settings:
    """What defines a comparison, as texts and numbers."""

    program: str
    data: str
    data_dir: str | None
    losses: tuple[str, ...]
    num_particles: tuple[int, ...]
    batch_size: int
    repeats: int
    seeds: tuple[int, ...]
    warm_up: int
    train_steps: int | None
    train_seconds: float | None
    limit: int


def particles(text: str) -> tuple[int, ...]:
    """The numbers of "1,5,50"."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise ValueError(
            f'--num-particles takes numbers such as "1,5,50", but got {text!r}'
        ) from None


def run(settings: Settings, device: str) -> Comparison:
    """Compares; begins with a training by `Trace_ELBO` if the settings ask for a warm-up."""
    data = read_data(settings.data, settings.data_dir)
    losses = [read_loss(text, known_from(data)) for text in settings.losses]
    check_counts(epochs=None, steps=None, batch_size=settings.batch_size)
    pyro.set_rng_seed(settings.seeds[0])
    program = _program(settings.program, known_from(data)).to(find_device(device))
    preflight(program, data, Trace_ELBO(), settings.batch_size)
    train = near(data.train, find_device(device))
    if settings.warm_up:
        training = fit(program, train, steps=settings.warm_up, batch_size=settings.batch_size)
        if training.interrupted:
            raise KeyboardInterrupt
    return compare(
        program,
        _batch(program, train, settings.batch_size),
        losses,
        num_particles=settings.num_particles,
        seeds=settings.seeds,
        repeats=settings.repeats,
        data=train,
        held_out=first(data.test, settings.limit),
        train_steps=settings.train_steps,
        train_seconds=settings.train_seconds,
    )


def _batch(program: ProgramModule, train: Split | DataSource, size: int) -> Split | DataSource:
    """A batch of the training data in random order, with the labels that a training has."""
    if isinstance(train, DataSource):
        return Tensors(**next(train.batches(size, seed=int(torch.randint(2**31, ())))))
    labels = has_labels(program, train)
    x, *y = next(train.batches(size, shuffle=True, labels=labels))
    return Split(x, y[0] if y else None)


def free_folder(settings: Settings, out: Path | None) -> Path:
    """The folder to write into: `out`, or a new one in runs/.

    Raises:
        ValueError: If it holds something else than a comparison of these settings.
    """
    if out is None:
        program = Path(name_of(settings.program)).stem
        name = f"compare-{program}-{name_of(settings.data)}".lower()
        folders = (Path("runs", name if i == 1 else f"{name}-{i}") for i in range(1, 10**6))
        return next(folder for folder in folders if not folder.exists())
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; name a folder that does not exist yet")
    if out.exists() and any(out.iterdir()) and _settings_in(out) != _plain(settings):
        raise ValueError(
            f"{out} holds something else than this very comparison; name a new folder with --out"
        )
    return out


def write(comparison: Comparison, settings: Settings, folder: Path) -> list[Path]:
    """Writes the result and its figures."""
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / RESULT
    content = {"settings": _plain(settings), **comparison.as_dict()}
    result.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    written = [result]
    ratios, variances = (_panels(comparison, value) for value in ("snr", "variance"))
    # The mean of R standard normal values over R, without sign.
    floor = math.sqrt(2 / (math.pi * comparison.num_draws))
    if any(ratios.values()):
        written.append(save(plots.snr(ratios, floor=floor), folder / "snr.png"))
    if any(variances.values()):
        written.append(save(plots.gradient_variance(variances), folder / "variance.png"))
    return written


def _program(text: str, names: dict[str, Any]) -> ProgramModule:
    if not Path(text).is_dir():
        return read_program(text, names)
    trained = Run(Path(text))
    if trained.known["x_shape"] != names["x_shape"]:
        raise ValueError(
            f"data of shape {names['x_shape']} do not fit {text}, trained on "
            f"{trained.known['x_shape']}"
        )
    return trained.load()


def _panels(comparison: Comparison, value: str) -> dict[str, dict[str, list[tuple[float, float]]]]:
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for part in ("guide", "model"):
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in comparison.rows:
            number = getattr(getattr(row, part), value, None)
            if number:  # log axes have no 0
                lines.setdefault(row.estimator, []).append((row.num_particles, number))
        if lines:
            panels[f"{part}'s parameters"] = lines
    return panels


def _plain(settings: Settings) -> Any:
    return json.loads(json.dumps(asdict(settings)))


def _settings_in(folder: Path) -> Any:
    try:
        return json.loads((folder / RESULT).read_text())["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
