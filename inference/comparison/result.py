"""What a comparison of estimators found, as numbers and as tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .gradients import Gradient

__all__ = ["Comparison", "HeldOut", "Row"]

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
        refusal: Why it cannot be had; all that follows is then None.
        bound: Its value in nats per datum, for the batch that was given.
        bound_error: The standard error of that over draws.
        is_bound: Whether that is the ELBO or a tighter bound on log p(x), and not an objective that
            weighs the terms otherwise, as with beta = 4, or one of which nothing is known.
        model: The gradient of the model's parameters; None if there are none.
        guide: The gradient of the guide's own parameters; None if there are none.
        milliseconds: The median time of a training step.
        memory: The most bytes that a step holds at once, beyond the parameters.
        equal_steps: After a training of the number of steps that all have.
        equal_time: After a training of as many steps as fit the time that all have.
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
    """What `compare` found.

    Args:
        rows: One for each number of particles and estimator, in this order.
        num_data: The data of the batch.
        num_draws: Independent draws of each bound and gradient.
    """

    rows: tuple[Row, ...]
    num_data: int
    num_draws: int

    def as_dict(self) -> dict[str, Any]:
        """Numbers, texts and None alone, as JSON has them."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Comparison":
        """What `as_dict` was made of."""
        kinds = {
            "model": Gradient,
            "guide": Gradient,
            "equal_steps": HeldOut,
            "equal_time": HeldOut,
        }

        def row(values: Mapping[str, Any]) -> Row:
            parts = {name: kind(**values[name]) for name, kind in kinds.items() if values[name]}
            return Row(**{**values, **parts})

        return cls(**{**found, "rows": tuple(map(row, found["rows"]))})

    def tables(self) -> list[Table]:
        """The tables of the values and of the gradients of model and guide, as text.

        Behind each ± stands the standard error over what the column's head says. In the tables of
        gradients the variance ratio is that to the first estimator with the same K, and a bias "-"
        that of an estimator of which no unbiased one with the same value is known.
        """
        rows = [row for row in self.rows if row.refusal is None]
        parts = [p for p in ("model", "guide") if any(getattr(row, p) for row in rows)]
        return [_values(rows), *(_gradients(rows, part) for part in parts)]

    def refusals(self) -> list[str]:
        """One sentence for each row that is none."""
        return [
            f"{row.estimator}, K = {row.num_particles}: {row.refusal}"
            for row in self.rows
            if row.refusal is not None
        ]

    def __repr__(self) -> str:
        """The tables, as in `str`: of a hundred numbers one reads nothing."""
        return str(self)

    def __str__(self) -> str:
        return "\n\n".join([*map(_aligned, self.tables()), *filter(None, self.refusals())])


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


def _errors(title: str, found: Sequence[HeldOut]) -> str:
    """The title with what its errors are over."""
    seeds = any(held_out.error_of_seeds is not None for held_out in found)
    return f"{title} ± data" + (" ± seeds" if seeds else "")


def _held_out(found: HeldOut | None) -> str:
    if found is None:
        return "-"
    errors = [found.error] if found.error_of_seeds is None else [found.error, found.error_of_seeds]
    return " ± ".join(f"{number:.2f}" for number in (found.log_likelihood, *errors))


def _steps(found: HeldOut | None) -> str:
    return "" if found is None else f", {found.steps} steps"


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
