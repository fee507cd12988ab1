"""What a program of texts writes: samples, reconstructions, and what lies between two of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vae.datasets import Dataset, Vocabulary
from pyro_vae.inference import sample
from pyro_vae.program import Program

from .files import VOCABULARY
from .generation import interpolated, labels_to_sample, moved, reconstructed
from .run import Run
from .writing import write_whole

__all__ = ["Writer", "check_vocabulary", "save", "show"]


class Writer:
    """Has a program write texts, as lines for a file.

    Args:
        program: A program whose data are sequences of tokens.
        vocabulary: What the tokens stand for.
    """

    def __init__(self, program: Program, vocabulary: Vocabulary) -> None:
        self.program, self.vocabulary = program, vocabulary

    def samples(
        self,
        num_samples: int,
        x_shape: Sequence[int],
        *,
        num_classes: int | None = None,
        label: int | None = None,
        **options: Any,
    ) -> list[str]:
        """Draws x ~ p(x | z), z ~ p(z), a text a line; with labels as many of each label.

        Args:
            num_samples: How many.
            x_shape: The shape of one datum.
            num_classes: The number of labels that a program `model(x, y)` knows.
            label: The one label to draw of.
            options: As of `pyro_vae.inference.sample`.

        Raises:
            ValueError: If there is no such label; as `sample`.
        """
        y = labels_to_sample(self.program, num_samples, num_classes, label)
        number = num_samples if y is None else len(y)
        x = sample(self.program, number, x_shape, y=y, mean=False, dtype=torch.int64, **options)
        found = self.vocabulary.texts(x)
        if y is None or label is not None:
            return found
        return [f"{label}  {text}" for label, text in zip(y.tolist(), found, strict=True)]

    def reconstructions(self, x: Tensor, y: Tensor | None = None) -> list[str]:
        """Each text, and below it what the program makes of its latents: the likeliest words."""
        pairs = zip(
            self.vocabulary.texts(x),
            self.vocabulary.texts(reconstructed(self.program, x, y)),
            strict=True,
        )
        return [line for pair in pairs for line in _block(("data", "made"), pair)]

    def interpolations(
        self,
        start: Tensor,
        stop: Tensor,
        y: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
        *,
        steps: int,
    ) -> list[str]:
        """What lies on straight lines in latent space between pairs of texts, both ends above it.

        Raises:
            ValueError: As `interpolated`.
        """
        found = interpolated(self.program, start, stop, y, steps=steps)
        weights = [f"{weight:.2f}" for weight in torch.linspace(0, 1, steps).tolist()]
        lines: list[str] = []
        for first, last, x in zip(start, stop, found, strict=True):
            ends = self.vocabulary.texts(torch.stack([first, last]))
            between = self.vocabulary.texts(x)
            lines += _block(("data", *weights, "data"), (ends[0], *between, ends[1]))
        return lines

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
            lines += _block(offsets, self.vocabulary.texts(row))
        return lines


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
    raise ValueError(
        f"{data.name} has other tokens than the {len(vocabulary):,} that {run.folder} was trained "
        f"on; number its words as the run does: text(..., vocabulary='{run.folder / VOCABULARY}')"
    )


def _block(heads: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Lines of texts, each behind its head, and an empty line."""
    width = max(map(len, heads))
    rows = zip(heads, texts, strict=True)
    return [*(f"{head:>{width}}  {text}".rstrip() for head, text in rows), ""]
