"""The result of a comparison of estimators, as numbers and as tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .gradients import Gradient

__all__ = ["Comparison", "HeldOut", "Row", "refusals_of"]

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # a header and rows of text


@dataclass(frozen=True)
class HeldOut:
    """The importance-weighted log-likelihood of held-out data after a training.

    Args:
        steps: How long the training was.
        log_likelihood: The mean over data and seeds, in nats per datum.
        error: The standard error of the mean over data.
        error_of_seeds: The standard error of the mean over seeds, which is what to compare
            estimators by, since all see the same data; None for one seed.
    """

    steps: int
    log_likelihood: float
    error: float
    error_of_seeds: float | None


@dataclass(frozen=True)
class Row:
    """One estimator with one number of particles.

    Args:
        estimator: Its name.
        num_particles: K.
        refusal: Why the estimator refused the program; all that follows is then None.
        bound: The mean of its value on the batch, in nats per datum.
        bound_error: The standard error of that mean over draws.
        is_bound: Whether the value is known to be the ELBO or a tighter bound on log p(x). An
            objective with beta = 4, for one, is not.
        model: The gradient of the model's parameters; None if there are none.
        guide: The gradient of the guide's own parameters; None if there are none.
        milliseconds: The median time of a training step.
        memory: The most bytes that a step holds at once, beyond the parameters.
        equal_steps: The result of a training of as many steps as all estimators take.
        equal_time: The result of a training of as long a time as all estimators take.
    """

    estimator: str
    num_particles: int
    refusal: str | None = None
    bound: float | None = None
    bound_error: float | None = None
    is_bound: bool = True
    model: Gradient | None = None
    guide: Gradient | None = None
    milliseconds: float | None = None
    memory: int | None = None
    equal_steps: HeldOut | None = None
    equal_time: HeldOut | None = None


@dataclass(frozen=True, repr=False)
class Comparison:
    """The result of `compare`.

    Args:
        rows: One for each number of particles and estimator, in this order.
        num_data: The number of data in the batch.
        num_draws: The number of independent draws of each bound and gradient.
    """

    rows: tuple[Row, ...]
    num_data: int
    num_draws: int

    def as_dict(self) -> dict[str, Any]:
        """All of it as numbers, texts, lists, dictionaries and None, as JSON has them."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Comparison":
        """The comparison of which `as_dict` returned the content."""
        kinds = {
            "model": Gradient,
            "guide": Gradient,
            "equal_steps": HeldOut,
            "equal_time": HeldOut,
        }

        def row(values: Mapping[str, Any]) -> Row:
            parts = {name: kind(**values[name]) for name, kind in kinds.items() if values[name]}
            return Row(**{**values, **parts})

        return cls(**{**content, "rows": tuple(map(row, content["rows"]))})

    def tables(self) -> list[Table]:
        """The tables of the values and of the gradients of model and guide, as text.

        The number behind each ± is a standard error, over what the head of the column says. In the
        tables of gradients, "ratio" is the variance divided by that of the first estimator with the
        same K, and "-" stands for a bias if no unbiased estimator of that bound is known.
        """
        rows = [row for row in self.rows if row.refusal is None]
        parts = [p for p in ("model", "guide") if any(getattr(row, p) for row in rows)]
        return [_values(rows), *(_gradients(rows, part) for part in parts)]

    def refusals(self) -> list[str]:
        """For each estimator that refused the program, its name, its K and the reason."""
        return refusals_of(self.rows)

    def __repr__(self) -> str:
        """The tables, as in `str`: of a hundred numbers one reads nothing."""
        return str(self)

    def __str__(self) -> str:
        return "\n\n".join([*map(_aligned, self.tables()), *filter(None, self.refusals())])


def refusals_of(rows: Sequence[Row]) -> list[str]:
    """Why rows are refused: each reason once, with the estimator and all K that it is said of."""
    refused: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.refusal is not None:
            refused.setdefault((row.estimator, row.refusal), []).append(str(row.num_particles))
    return [
        f"{name}, K = {', '.join(counts)}: {reason}" for (name, reason), counts in refused.items()
    ]


def _values(rows: Sequence[Row]) -> Table:
    columns: dict[str, Callable[[Row], str]] = {
        "nats per datum": lambda row: row.estimator,
        "K": lambda row: str(row.num_particles),
    }
    if any(row.is_bound for row in rows):
        columns["bound ± draws"] = lambda row: _value(row) if row.is_bound else "-"
    if not all(row.is_bound for row in rows):
        columns["objective ± draws"] = lambda row: "-" if row.is_bound else _value(row)
    columns["ms a step"] = lambda row: f"{row.milliseconds:.3g}"
    columns["MiB a step"] = lambda row: f"{(row.memory or 0) / 2**20:.2g}"
    by_steps = [row.equal_steps for row in rows if row.equal_steps]
    by_time = [row.equal_time for row in rows if row.equal_time]
    if by_steps:
        title = _errors(f"log p(x), {by_steps[0].steps} steps", by_steps)
        columns[title] = lambda row: _held_out(row.equal_steps)
    if by_time:
        title = _errors("log p(x), equal time", by_time)
        columns[title] = lambda row: _held_out(row.equal_time) + _steps(row.equal_time)
    return tuple(columns), [tuple(cell(row) for cell in columns.values()) for row in rows]


def _value(row: Row) -> str:
    return f"{row.bound:.2f} ± {row.bound_error or 0:.2f}"


def _errors(title: str, trained: Sequence[HeldOut]) -> str:
    """The title of a column, with what its standard errors are over."""
    seeds = any(held_out.error_of_seeds is not None for held_out in trained)
    return f"{title} ± data" + (" ± seeds" if seeds else "")


def _held_out(trained: HeldOut | None) -> str:
    if trained is None:
        return "-"
    errors = (trained.error, trained.error_of_seeds)
    numbers = [trained.log_likelihood, *(error for error in errors if error is not None)]
    return " ± ".join(f"{number:.2f}" for number in numbers)


def _steps(trained: HeldOut | None) -> str:
    return "" if trained is None else f", {trained.steps} steps"


def _gradients(rows: Sequence[Row], part: str) -> Table:
    header: tuple[str, ...] = (
        f"{part}'s gradient",
        "K",
        "length",
        "bias ± draws",
        "variance",
        "ratio",
        "signal/noise",
    )
    table: list[tuple[str, ...]] = []
    for row in rows:
        gradient: Gradient | None = getattr(row, part)
        if gradient is None:
            continue
        first: Gradient = next(
            getattr(other, part) for other in rows if other.num_particles == row.num_particles
        )
        ratio = f"{gradient.variance / first.variance:.3g}" if first.variance > 0 else "-"
        table.append(
            (
                row.estimator,
                str(row.num_particles),
                f"{gradient.length:.3g}",
                _bias(gradient),
                f"{gradient.variance:.3g}",
                ratio,
                "-" if gradient.snr is None else f"{gradient.snr:.3g}",
            )
        )
    return header, table


def _bias(gradient: Gradient) -> str:
    if gradient.bias is None:
        return "-"
    return f"{gradient.bias:.2g} ± {gradient.bias_error:.2g}"


def _aligned(table: Table) -> str:
    lines = [table[0], *table[1]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )
