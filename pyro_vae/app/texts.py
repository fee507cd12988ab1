"""What a program of texts writes: samples, reconstructions, and what lies between two of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vae.datasets import Dataset, Vocabulary
from pyro_vae.inference import sample
from pyro_vae.molecules import NOTATIONS, canonical_or_not
from pyro_vae.program import Program

from .files import VOCABULARY
from .generation import interpolated, labels_to_sample, moved, reconstructed
from .run import Run
from .writing import write_whole

__all__ = [
    "Writer",
    "block",
    "check_vocabulary",
    "line_heads",
    "pairs",
    "save",
    "show",
    "with_labels",
]

_AT_ONCE = 1_000  # texts that are drawn side by side: each keeps its state, or all its keys


class Writer:
    """Has a program write texts, as lines for a file.

    Args:
        program: A program whose data are sequences of tokens.
        vocabulary: What the tokens stand for. If they are molecules, the texts are their SMILES,
            canonical where these parse.
    """

    def __init__(self, program: Program, vocabulary: Vocabulary) -> None:
        self.program, self.vocabulary = program, vocabulary

    def texts(self, x: Tensor) -> list[str]:
        """What rows of ids, (N, T), stand for."""
        found, notation = self.vocabulary.texts(x), self.vocabulary.notation
        return (
            found if notation is None else canonical_or_not(map(NOTATIONS[notation].smiles, found))
        )

    def samples(
        self,
        num_samples: int,
        x_shape: Sequence[int],
        *,
        num_classes: int | None = None,
        label: int | None = None,
        **options: Any,
    ) -> tuple[list[str], Tensor | None]:
        """Draws x ~ p(x | z), z ~ p(z); with labels as many of each label.

        Args:
            num_samples: How many.
            x_shape: The shape of one datum.
            num_classes: The number of labels that a program `model(x, y)` knows.
            label: The one label to draw of.
            options: As of `pyro_vae.inference.sample`.

        Returns:
            The texts, and the label of each, None for a program without.

        Raises:
            ValueError: If there is no such label; as `sample`.
        """
        y = labels_to_sample(self.program, num_samples, num_classes, label)
        number = num_samples if y is None else len(y)
        drawn = []
        for start in range(0, number, _AT_ONCE):
            count = min(_AT_ONCE, number - start)
            some = None if y is None else y[start : start + count]
            drawn += self.texts(
                sample(
                    self.program,
                    count,
                    x_shape,
                    y=some,
                    mean=False,
                    dtype=torch.int64,
                    **options,
                )
            )
        return drawn, y

    def reconstructions(self, x: Tensor, y: Tensor | None = None) -> tuple[list[str], list[str]]:
        """Each text, and what the program makes of its latents: the likeliest words."""
        return self.texts(x), self.texts(reconstructed(self.program, x, y))

    def interpolations(
        self,
        start: Tensor,
        stop: Tensor,
        y: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
        *,
        steps: int,
    ) -> list[list[str]]:
        """What lies on straight lines in latent space between pairs of texts, with both ends.

        Returns:
            A row for each pair: the first text, `steps` texts of the line, the last text.

        Raises:
            ValueError: As `interpolated`.
        """
        found = interpolated(self.program, start, stop, y, steps=steps)
        ends = zip(self.texts(start), map(self.texts, found), self.texts(stop), strict=True)
        return [[first, *between, last] for first, between, last in ends]

    def traversal(self, x: Tensor, y: Tensor | None = None, **options: Any) -> list[str]:
        """A text as single numbers of a latent move, all else fixed; see `moved`.

        Raises:
            ValueError: As `moved`.
        """
        site, found = moved(self.program, x, y, **options)
        offsets = [f"{offset:+.3g}" if offset else "0" for offset in found.offsets.tolist()]
        rates = [None] * len(found.x) if found.rates is None else found.rates.tolist()
        lines: list[str] = []
        for number, rate, row in zip(found.numbers.tolist(), rates, found.x, strict=True):
            lines.append(f"{site}[{number}]" + ("" if rate is None else f", {rate:.2f} nats"))
            lines += block(offsets, self.texts(row))
        return lines


def with_labels(found: Sequence[str], y: Tensor | None, label: int | None = None) -> list[str]:
    """A line for each sample, its label before it unless all are of one."""
    if y is None or label is not None:
        return list(found)
    return [f"{label}  {text}" for label, text in zip(y.tolist(), found, strict=True)]


def pairs(data: Sequence[str], made: Sequence[str]) -> list[str]:
    """Lines of each text, and below it what was made of it."""
    both = zip(data, made, strict=True)
    return [line for pair in both for line in block(("data", "made"), pair)]


def line_heads(steps: int) -> list[str]:
    """What stands before the texts of a line between two, and before both ends."""
    return ["data", *(f"{weight:.2f}" for weight in torch.linspace(0, 1, steps).tolist()), "data"]


def save(lines: Sequence[str], path: Path) -> Path:
    """Writes lines of text as UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(f"{line}\n" for line in lines).encode())
    return path


def show(lines: Sequence[str], path: Path) -> None:
    """Prints lines of text, and writes them."""
    print("\n".join(lines))
    print(save(lines, path))


def check_vocabulary(run: Run, data: Dataset) -> None:
    """Refuses data whose tokens stand for other words than those of a run.

    Raises:
        ValueError: If they do.
    """
    vocabulary = run.vocabulary
    if data.vocabulary == vocabulary:
        return
    if vocabulary is None:
        raise ValueError(
            f"{data.name} is of texts, but {run.folder} was trained on other data; name such data"
        )
    read = "text" if vocabulary.notation is None else "smiles"
    raise ValueError(
        f"{data.name} has other tokens than the {len(vocabulary):,} that {run.folder} was trained "
        f"on; number its words as the run does: {read}(..., vocabulary='{run.folder / VOCABULARY}')"
    )


def block(heads: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Lines of texts, each behind its head, and an empty line."""
    width = max(map(len, heads))
    rows = zip(heads, texts, strict=True)
    return [*(f"{head:>{width}}  {text}".rstrip() for head, text in rows), ""]
