"""A program and its bound as they stand on a blackboard, with the value of each term."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pyro
import torch
from matplotlib.figure import Figure
from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_vae.batches import Data, batch_of, check_data
from pyro_vae.datasets import Split
from pyro_vae.inference.estimators import Addend, Estimator, Formula, Trace_ELBO, check_loss
from pyro_vae.program import Program, evaluating

from .formulas import Stated, stated
from .latex import latex_of
from .picture import picture_of
from .structure import Structure, structure_of
from .text import text_of

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True)
class Explanation:
    """What `explain` finds: `text`, `latex` and `plot()` show it, and so does a notebook.

    Args:
        title: The program's name.
        loss: The estimator's text.
        structure: The sites of the program, with their plates and what they depend on.
        formula: The bound in addends, each with its value for each datum, (N,), in nats.
        num_data: N, the data of the batch.
        is_bound: Whether the value is the ELBO or a tighter bound on log p(x).
        beside: What training factors add to what is climbed, which is no part of the bound.
        elbo: The ELBO of the same draws, (N,), beside a value that is no bound.
        notes: Sentences on the formula, with LaTeX between dollar signs.
    """

    title: str
    loss: str
    structure: Structure
    formula: Formula
    num_data: int
    is_bound: bool
    beside: tuple[Addend, ...] = ()
    elbo: Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def bound(self) -> Tensor:
        """The sum of the terms for each datum, (N,): the estimator's value on this batch."""
        return self.formula.value

    @property
    def climbed(self) -> Tensor:
        """The same with the training factors, (N,): what a training climbs."""
        return torch.stack([self.bound, *(each.added for each in self.beside)]).sum(0)

    @property
    def text(self) -> str:
        """Plate diagram, densities and bound for a terminal."""
        return text_of(self)

    @property
    def latex(self) -> str:
        """Densities and bound in LaTeX, for the packages amsmath and amssymb."""
        return latex_of(self)

    def plot(self) -> Figure:
        """Plate diagram, densities and bound as a picture."""
        return picture_of(self)

    def __repr__(self) -> str:
        return self.text

    def _repr_latex_(self) -> str:
        return self.latex

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.plot().savefig(content, format="png", dpi=100)
        return content.getvalue()


def explain(
    program: Program,
    x: Data,
    y: Tensor | None = None,
    *,
    loss: ELBO | None = None,
    num_data: int = 500,
    step: int = 0,
    title: str | None = None,
) -> Explanation:
    r"""The densities of a program and the bound of an estimator, with the value of each term.

    The values are of the program as it is, in evaluation mode, in nats per datum. No parameter is
    moved.

    Args:
        program: The program.
        x: Data, (N, *x_shape), a `Split`, or a `DataSource`.
        y: The labels, if x is a tensor and the program is a `model(x, y)`.
        loss: The estimator, by default `Trace_ELBO()`.
        num_data: How many of the data make up the batch, at most: the first ones.
        step: Of a training, at which schedules stand.
        title: What the program is called; by default its class.

    Raises:
        TypeError: If the loss is no ELBO.
        ValueError: If the program does not take such data, or the estimator refuses the program.

    Example:
        >>> explanation = explain(VAE((1, 8, 8)), torch.zeros(5, 1, 8, 8), loss=IWAE(5))
        >>> [each.latex for each in explanation.formula.addends][0]
        '\\mathbb{E}_{q}[\\log p(x \\mid z)]'
    """
    loss = _checked(loss)
    loss = loss.at(step) if isinstance(loss, Estimator) else loss
    batch = _batch(program, x, y, num_data)
    with evaluating(program):
        with torch.random.fork_rng(), pyro.validation_enabled(False):
            structure = structure_of(program, batch)
        found = stated(loss, program, tuple(batch.values()), structure)
    is_bound = found.is_bound and not found.points
    return Explanation(
        title=_name(program) if title is None else title,
        loss=_text(loss),
        structure=structure,
        formula=found.formula,
        num_data=len(found.formula.value),
        is_bound=is_bound,
        beside=found.beside,
        elbo=None if is_bound else found.elbo,
        notes=_notes(found, _text(loss), len(found.formula.value)),
    )


def _checked(loss: ELBO | None) -> ELBO:
    if loss is None:
        return Trace_ELBO()
    if isinstance(loss, type):
        raise TypeError(f"the loss is the class {loss.__name__}; write {loss.__name__}()")
    check_loss(loss)
    if not isinstance(loss, ELBO):
        raise TypeError(
            f"the loss is {loss!r:.80}, of which no formula is known; give an estimator, such as "
            "Trace_ELBO()"
        )
    return loss


def _batch(program: Program, x: Data, y: Tensor | None, num_data: int) -> Mapping[str, Tensor]:
    """The first data, by the names of the program's arguments."""
    if not isinstance(num_data, int) or num_data < 1:
        raise ValueError(f"num_data must be a whole number of at least 1, but is {num_data}")
    check_data(x, y)
    data = replace(x, labelled=0.0) if isinstance(x, Split) else x
    return batch_of(program, data, y, size=num_data)


def _name(program: Program) -> str:
    """The class of a program; of one made of two functions the file that they are in."""
    if isinstance(program, ModuleType):
        return Path(program.__file__ or program.__name__).stem
    kind = type(program).__name__
    return kind if kind != "SimpleNamespace" else str(program.model.__module__)


def _text(loss: ELBO) -> str:
    """The estimator as one writes it, without the arguments that are the defaults."""
    given = {} if not isinstance(loss, Estimator) else {f.name: f for f in fields(loss) if f.repr}
    values = ((name, getattr(loss, name), field.default) for name, field in given.items())
    said = [f"{name}={_short(value)}" for name, value, default in values if value != default]
    return f"{type(loss).__name__}({', '.join(said)})"


def _short(value: object) -> str:
    """A value in a few letters: of a network its class."""
    return f"{type(value).__name__}(...)" if isinstance(value, nn.Module) else f"{value!r:.60}"


def _notes(found: Stated, text: str, num_data: int) -> tuple[str, ...]:
    """Sentences on the values, and on what the estimator and the program make of them."""
    of = f"the means over {num_data:,} data" if num_data > 1 else "of all data together"
    values = f"in nats, {of} with their standard errors, by {text}"
    notes = [values, *found.formula.notes]
    if found.points:
        names = ", ".join(found.points)
        notes.append(f"the guide puts {names} on a point, so the value is no bound")
    return tuple(notes)
