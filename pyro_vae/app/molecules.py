"""What is shown of a run on molecules: pictures, a table beside the data's, lines between two."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vae.datasets import Vocabulary
from pyro_vae.molecules import (
    FEWEST_FOR_FCD,
    NOTATIONS,
    Spread,
    Summary,
    canonical,
    chemnet,
    log_p,
    nearest,
    picture,
    qed,
    save_picture,
    summary,
)

from .files import REFERENCES
from .opened import in_memory
from .run import Run
from .tables import print_rows
from .texts import check_vocabulary, save
from .writing import write_json

__all__ = ["check_out", "draw", "draw_lines", "ends", "forget_references", "same", "show"]

_DRAWN = 12
_MOST_TEST = 10_000  # molecules of the test data that samples are compared with


def show(run: Run, smiles: Sequence[str], path: Path, data_dir: str | None = None) -> None:
    """Draws the first samples, and prints and writes what is said of all, beside the data's own.

    Args:
        run: What they were drawn from.
        smiles: The samples.
        path: Their file; a picture and a table of JSON are written beside it.
        data_dir: Where the run's data are now.
    """
    valid = [text for text in canonical(smiles) if text is not None]
    if valid:
        print(draw(valid, path.with_suffix(".png")))
    else:
        print("none of the samples parses, so there is no picture")
    data = _References.of(run, data_dir)
    found = data.compared(smiles)
    print_rows(("", *found), _rows(list(found.values())))
    if valid:
        _print_nearest(valid[:_DRAWN], data.train)
    write_json(path.with_suffix(".json"), {name: each.as_json() for name, each in found.items()})
    print(path.with_suffix(".json"))


def check_out(path: Path) -> None:
    """Refuses a file of SMILES in whose place a picture or a table would be written.

    Raises:
        ValueError: If it is one.
    """
    if path.suffix in (".png", ".json"):
        raise ValueError(
            f"--out names the file of SMILES, and {path.suffix} is written beside it, but it is "
            f"{path}; call it {path.with_suffix('.txt')}"
        )


def draw(smiles: Sequence[str], path: Path) -> Path:
    """A picture of the first twelve molecules of some texts, with their log P and QED.

    Raises:
        ValueError: If none of them parses.
    """
    valid = [text for text in canonical(smiles) if text is not None][:_DRAWN]
    if not valid:
        raise ValueError("none of the samples parses")
    numbers = zip(log_p(valid), qed(valid), strict=True)
    legends = [f"log P {one:.1f}, QED {other:.2f}" for one, other in numbers]
    return save_picture(picture(valid, legends=legends), path)


def draw_lines(rows: Sequence[Sequence[str]], heads: Sequence[str], path: Path) -> Path:
    """A picture of molecules on lines, a row each; what does not parse leaves its place empty."""
    flat = [text for row in rows for text in row]
    parses = [text is not None for text in canonical(flat)]
    legends = [
        head if ok else f"{head}: does not parse"
        for head, ok in zip([*heads] * len(rows), parses, strict=True)
    ]
    return save_picture(picture(flat, legends=legends, columns=len(heads)), path)


def ends(pairs: Sequence[str], vocabulary: Vocabulary, length: int) -> tuple[Tensor, Tensor]:
    """The molecules of texts such as "CCO,c1ccccc1" as ids, two times (N, length).

    Raises:
        ValueError: If a text is no such pair, or the run cannot read a molecule.
    """
    rows = []
    for pair in pairs:
        both = [text.strip() for text in pair.split(",")]
        if len(both) != 2:
            raise ValueError(
                f'--pair takes two numbers such as "3,17", or two SMILES, but got {pair!r}'
            )
        rows.append(vocabulary.table([_tokens(t, vocabulary, length) for t in both], length))
    x = torch.stack(rows)
    return x[:, 0], x[:, 1]


def same(lines: Sequence[str], made: Sequence[str]) -> str:
    """How many molecules come back as the same ones, in words."""
    pairs = zip(canonical(lines), canonical(made), strict=True)
    count = sum(one is not None and one == other for one, other in pairs)
    return f"{count:,} of {len(lines):,} come back as the same molecule"


def forget_references(run: Run) -> None:
    """Deletes what was written of a run's data, as it goes on with what may be others."""
    for name in REFERENCES:
        (run.folder / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class _References:
    """The canonical SMILES of the data that samples are compared with.

    Args:
        train: Of those trained on.
        test: Of those held out.
    """

    train: list[str]
    test: list[str]

    @classmethod
    def of(cls, run: Run, data_dir: str | None) -> "_References":
        """Reads them, or makes and writes them first, which takes minutes of ZINC."""
        paths = [run.folder / name for name in REFERENCES]
        if not all(path.is_file() for path in paths):
            data = run.data(data_dir=data_dir)
            check_vocabulary(run, data)
            for path, part in zip(paths, (data.train, data.test), strict=True):
                save(_canonical(data.vocabulary, in_memory(part).x), path)
        return cls(*(path.read_text(encoding="utf-8").split() for path in paths))

    def compared(self, smiles: Sequence[str]) -> dict[str, Summary]:
        """What is said of samples, of the test data, and of as many training data as samples."""
        test, train = self.test[:_MOST_TEST], set(self.train)
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(0))
        some = [self.train[i] for i in order[: len(smiles)].tolist()]
        fewest = min(sum(text is not None for text in canonical(smiles)), len(test))
        seen = _seen_by_chemnet(test, fewest)
        return {
            f"{len(smiles):,} samples": summary(smiles, train, seen),
            f"{len(test):,} test data": summary(test, train),
            f"{len(some):,} training data": summary(some, train, seen),
        }


def _canonical(vocabulary: Any, x: Tensor) -> list[str]:
    texts = map(NOTATIONS[vocabulary.notation].smiles, vocabulary.texts(x))
    return [text for text in canonical(texts) if text is not None]


def _seen_by_chemnet(smiles: Sequence[str], fewest: int) -> Any | None:
    """What FCD compares with; None, and a word why, where it cannot be computed.

    Args:
        smiles: The test data.
        fewest: How many molecules the smaller set has.
    """
    if fewest < FEWEST_FOR_FCD:
        print(
            f"no FCD: it needs {FEWEST_FOR_FCD:,} test data and as many samples that parse, and of "
            f"one of them there are {fewest:,}"
        )
        return None
    try:
        return chemnet(smiles)
    except ValueError as error:  # the package is not there
        print(f"no FCD: {error}")
        return None


def _rows(columns: Sequence[Summary]) -> list[tuple[str, ...]]:
    """The table of what is said of sets of molecules, a column each."""
    shares = [
        (f"different ones of {k:,}", *(_percent(s.unique.get(k, math.nan)) for s in columns))
        for k in sorted({k for each in columns for k in each.unique})
    ]
    others: dict[str, Callable[[Summary], str]] = {
        "novel": lambda s: _percent(s.novel),
        "internal diversity, p = 1": lambda s: _number(s.diversity_1),
        "internal diversity, p = 2": lambda s: _number(s.diversity_2),
        "FCD to the test data": lambda s: "-" if s.fcd is None else f"{s.fcd:.2f}",
        "log P": lambda s: _spread(s.log_p),
        "QED": lambda s: _spread(s.qed),
        "tokens of SMILES": lambda s: _spread(s.length),
    }
    valid = ("valid", *(_percent(s.valid) for s in columns))
    return [valid, *shares, *((name, *map(say, columns)) for name, say in others.items())]


def _print_nearest(smiles: Sequence[str], train: Sequence[str]) -> None:
    """Some molecules with the most similar ones of the training data, none of them cut off."""
    found = nearest(smiles, train)
    width = max(map(len, smiles))
    print("similarity, sample, and the nearest of the training data")
    for text, (other, alike) in zip(smiles, found, strict=True):
        print(f"{alike:.2f}  {text:<{width}}  {other}")


def _tokens(text: str, vocabulary: Vocabulary, length: int) -> list[str]:
    """The tokens of a molecule that one has written, as the run has them."""
    if canonical([text]) == [None]:
        raise ValueError(f"{text!r} does not parse as SMILES; give a molecule")
    tokens = NOTATIONS[vocabulary.notation or ""].tokens(text)
    if len(tokens) >= length:
        raise ValueError(
            f"{text!r} has {len(tokens)} tokens, but the run knows molecules of at most "
            f"{length - 1}; give a smaller one"
        )
    if unknown := [token for token in tokens if not vocabulary.knows([token])]:
        raise ValueError(
            f"{text!r} has the token {unknown[0]!r}, which the run was not trained on; give "
            "another molecule, or write it as the training data are written"
        )
    return tokens


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _spread(of: Spread) -> str:
    if math.isnan(of.mean):
        return "-"
    return f"{of.mean:.2f}, {of.low:.2f} to {of.high:.2f}"
