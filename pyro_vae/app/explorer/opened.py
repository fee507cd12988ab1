"""The runs that a page shows: each with its program, and data of all to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vae.app.opened import in_memory, trained
from pyro_vae.app.prepare import labelled
from pyro_vae.app.run import Run
from pyro_vae.program import ProgramModule

from .functions import Example

__all__ = ["OpenedRun", "open_runs"]

_JUDGED = 1_000  # data whose posterior means are shown


@dataclass(frozen=True)
class OpenedRun:
    """A trained program and data that it was not trained on.

    Args:
        run: The folder.
        program: Its program, in evaluation mode, on the CPU.
        x: Data, (N, *x_shape).
        y: Their labels as the program takes them, (N, ...); None if it takes none.
        labels: Their labels, if they have classes, to colour them by, (N,).
    """

    run: Run
    program: ProgramModule
    x: Tensor
    y: Tensor | None
    labels: Tensor | None

    @property
    def example(self) -> Example:
        """One of the data, on which functions are traced."""
        return Example(self.x[:1], None if self.y is None else self.y[:1])

    @property
    def args(self) -> tuple[Tensor, Tensor | None]:
        """Data and labels, for functions of `inference`."""
        return self.x, self.y


def open_runs(
    folders: Sequence[Path], data: str | None, data_dir: str | None, split: Any, seed: int
) -> list[OpenedRun]:
    """Opens runs, with the data of the first for all.

    Raises:
        FileNotFoundError: If there is no such run, or its data are gone.
        ValueError: If data of the first do not fit another, or weights are not finite.
    """
    program, part = trained(folders[0], data, data_dir, split, seed, "cpu")
    part = in_memory(part)
    opened = [_opened(Run(folders[0]), program, part)]
    for folder in folders[1:]:
        run = Run(folder)
        shapes = [tuple(each.known["x_shape"]) for each in (opened[0].run, run)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{folders[0]} is of data of shape {shapes[0]}, but {folder} of {shapes[1]}; two "
                "runs beside each other must be of the same data"
            )
        opened.append(_opened(run, run.load(), part))
    return opened


def _opened(run: Run, program: ProgramModule, part: Any) -> OpenedRun:
    program = program.eval()
    _check_finite(run, program)
    x, y = labelled(program, part)
    some = slice(_JUDGED)
    classes = part.y is not None and not part.y.is_floating_point() and part.y.dim() == 1
    return OpenedRun(
        run,
        program,
        x[some],
        None if y is None else y[some],
        part.y[some].to(torch.long) if classes else None,
    )


def _check_finite(run: Run, program: ProgramModule) -> None:
    for name, parameter in program.named_parameters():
        bad = int((~parameter.isfinite()).sum())
        if bad:
            raise ValueError(
                f"{bad} of the {parameter.numel()} numbers of {name} of {run.folder} are not "
                "finite, so there is nothing to show; train anew, with a lower learning rate"
            )
