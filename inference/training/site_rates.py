"""The rate of each latent site, as it is recorded of an epoch and shown in a line."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from shutil import get_terminal_size
from typing import Any

import torch
from tqdm.auto import tqdm

from pyro_vae.batches import Batches, num_data
from pyro_vae.inference.evaluation import Evaluation, evaluate_batches
from pyro_vae.program import Program

__all__ = ["RateLine", "line_of_rates", "rates_of_training", "sums_of_rates"]

_KEY = "rate of "
_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.:-=+*#"


def sums_of_rates(terms: Evaluation) -> dict[str, float]:
    """The rate of each latent site, summed over the data, where there are two sites or more."""
    if len(terms.rates) < 2:
        return {}
    return {f"{_KEY}{name}": rate.sum().item() for name, rate in terms.rates.items()}


def rates_of_training(program: Program, data: Batches, batch: Sequence[Any]) -> dict[str, float]:
    """The rate of each site on a batch that was trained on, in nats per datum, in evaluation mode.

    Args:
        program: The program that is trained.
        data: The batches that it is trained on.
        batch: One of them.

    Returns:
        Nothing where the batch has no bound for each datum, which a training need not have.
    """
    # the random numbers of a training do not depend on what is reported of it
    with torch.random.fork_rng():
        try:
            terms = evaluate_batches(program, replace(data, data=[batch]))
        except ValueError:
            return {}
    return {name: value / num_data(batch) for name, value in sums_of_rates(terms).items()}


class RateLine:
    """The line below a progress bar; it is there once a record has the rates of several sites.

    Args:
        shown: Whether the progress bar is.
    """

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self._line: Any = None

    def __enter__(self) -> "RateLine":
        """Shows nothing yet."""
        return self

    def __exit__(self, *error: object) -> None:
        """Leaves the last line where it is."""
        if self._line is not None:
            self._line.close()

    def show(self, record: Mapping[str, float]) -> None:
        """Shows the rates of a record."""
        text = line_of_rates(record) if self.shown else ""
        if not text:
            return
        if self._line is None:
            self._line = tqdm(total=0, position=1, leave=True, bar_format="{desc}")
        self._line.set_description_str(text)


def line_of_rates(record: Mapping[str, float], columns: int | None = None) -> str:
    """The rates of a record from the top down, each a small bar and a number; "" without any.

    The bars have the largest rate at their full height. Where a terminal is too narrow, the names
    between the first and the last are left out, and then the numbers.

    Args:
        record: What `fit` records of an epoch.
        columns: The width of the line; by default that of the terminal.
    """
    rates = {n.removeprefix(_KEY): r for n, r in record.items() if n.startswith(_KEY)}
    if not rates:
        return ""
    columns = get_terminal_size().columns - 1 if columns is None else columns
    bars, numbers = _bars(list(rates.values())), [_short(rate) for rate in rates.values()]
    first, *_, last = rates
    pairs = list(zip(bars, numbers, strict=True))
    named = "  ".join(f"{n} {b}{r}" for n, (b, r) in zip(rates, pairs, strict=True))
    unnamed = f"{first} to {last}: " + " ".join(b + r for b, r in pairs)
    least, most = (_short(f(rates.values())) for f in (min, max))
    only_bars = f"{first} to {last}: {''.join(bars)} from {least} to {most}"
    lines = [f"rates: {line}" for line in (named, unnamed, only_bars)]
    return next((line for line in lines if len(line) <= columns), lines[-1][:columns])


def _bars(rates: Sequence[float]) -> list[str]:
    try:
        for stream in (sys.stdout, sys.stderr):
            _BLOCKS.encode(getattr(stream, "encoding", None) or "ascii")
        levels = _BLOCKS
    except UnicodeEncodeError:
        levels = _ASCII
    most = max(*rates, 1e-9)
    return [levels[round(min(max(rate / most, 0.0), 1.0) * 7)] for rate in rates]


def _short(rate: float) -> str:
    return f"{round(rate, 2) + 0.0:.2f}" if abs(rate) < 1 else f"{rate:.3g}"  # and no -0.00
