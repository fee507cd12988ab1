"""From sequences of tokens to a data set: numbered by the training part, in three parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pyro_vae.likelihoods import RecurrentTokens

from .conversion import hold_out
from .dataset import Dataset
from .split import PARTS, Split
from .vocabulary import Vocabulary

__all__ = ["Numbering", "check_count", "numbered"]

_MOST_ENTRIES = 2**28  # of a table of int64: 2.1 GB


@dataclass(frozen=True)
class Numbering:
    """How sequences of tokens become rows of ids.

    Args:
        nouns: What a token and a sequence are called in sentences: ("words", "sentences").
        separator: What stands between two tokens of a text.
        max_length: The longest sequence that is kept, its end mark not counted; None keeps all.
        max_words: The most tokens of the vocabulary, its marks not counted; None keeps all.
        min_count: How often a token must come in the training part to have an id of its own.
        vocabulary: One that there is already; None makes one of the training part.
        notation: That of molecules, "smiles" or "selfies". No mark stands for unknown tokens then,
            as a text with a hole is no molecule: sequences with tokens that training never saw are
            left out.

    Raises:
        ValueError: If a number is none from 1 on, or a vocabulary is both given and to be made.
    """

    nouns: tuple[str, str]
    separator: str = " "
    max_length: int | None = None
    max_words: int | None = None
    min_count: int = 1
    vocabulary: Vocabulary | None = None
    notation: str | None = None

    def __post_init__(self) -> None:
        for name in ("max_length", "max_words", "min_count"):
            if (number := getattr(self, name)) is not None:
                check_count(name, number)
        if self.vocabulary is not None and (self.max_words is not None or self.min_count != 1):
            raise ValueError(
                "max_words and min_count choose the tokens of a new vocabulary, but one is given; "
                "leave them or the vocabulary out"
            )

    def vocabulary_of(self, sequences: Sequence[Sequence[str]]) -> Vocabulary:
        """The vocabulary that is given, or that of the sequences to train on."""
        if self.vocabulary is not None:
            return self.vocabulary
        return Vocabulary.of(
            sequences,
            min_count=self.min_count,
            max_words=self.max_words,
            separator=self.separator,
            unknown=self.notation is None,
            notation=self.notation,
        )


def check_count(name: str, number: object) -> None:
    """Refuses what is no whole number from 1 on."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"{name} must be a whole number from 1 on, but is {number!r}")


def numbered(
    name: str,
    source: str,
    parts: Mapping[str, Sequence[Sequence[str]]],
    numbering: Numbering,
    *,
    y: Tensor | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """A data set of sequences of tokens, with a vocabulary of its training part.

    Sequences that are too long are left out, as they would have no end.

    Args:
        name: What to call it.
        source: What names the data in the sentence of an error.
        parts: The sequences of "train", and perhaps of "valid" and "test"; for each part that is
            not there a fixed permutation takes a tenth of the training data.
        numbering: How they become ids.
        y: Classes, one for each sequence of all parts together.
        notes: What else to say of the data.

    Raises:
        ValueError: If a part has no sequences that are short enough, or there is too much.
    """
    most, (tokens, kind) = numbering.max_length, numbering.nouns
    whole = [sequence for found in parts.values() for sequence in found]
    fit = torch.tensor([most is None or len(sequence) <= most for sequence in whole])
    rows = {part: row[fit[row]] for part, row in _rows(parts).items()}
    for part, row in rows.items():
        if not len(row):
            raise ValueError(
                f"{source} has no {kind} to {part} on: of {len(parts[part]):,} {kind} none has at "
                f"most {most} {tokens}; give a greater max_length, or other data"
            )
    rows = _three(source, rows)
    length = 1 + (most or max(map(len, whole)))
    _check_size(source, len(whole), length, kind, whole)
    vocabulary = numbering.vocabulary_of([whole[i] for i in rows["train"].tolist()])
    if numbering.notation is not None:
        before = sum(map(len, rows.values()))
        rows = {part: _known(part, row, whole, vocabulary, kind) for part, row in rows.items()}
        if unseen := before - sum(map(len, rows.values())):
            notes = [*notes, f"{unseen:,} {kind} with tokens that the vocabulary lacks left out"]

    def split(part: str) -> Split:
        x = vocabulary.table([whole[i] for i in rows[part].tolist()], length)
        return Split(x, None if y is None else y[rows[part]], ragged=True)

    train, valid, test = map(split, PARTS)
    words = _about((train, valid, test), vocabulary, numbering)
    if left_out := int((~fit).sum()):
        words.append(f"{left_out:,} {kind} of more than {most} {tokens} left out")
    likelihood = partial(RecurrentTokens, num_tokens=len(vocabulary))
    about = "; ".join([*words, *notes])
    return Dataset(name, train, valid, test, likelihood, about, vocabulary=vocabulary)


def _known(
    part: str, rows: Tensor, whole: Sequence[Sequence[str]], vocabulary: Vocabulary, kind: str
) -> Tensor:
    """Those rows all of whose tokens have ids."""
    known = rows[torch.tensor([vocabulary.knows(whole[i]) for i in rows.tolist()])]
    if not len(known):
        raise ValueError(
            f"of {len(rows):,} {kind} to {part} on each has a token that the vocabulary lacks; "
            "give more to train on, or the vocabulary of another run"
        )
    return known


def _rows(parts: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, Tensor]:
    """Where the sequences of each part stand among all."""
    counts = [len(found) for found in parts.values()]
    return dict(zip(parts, torch.arange(sum(counts)).split(counts), strict=True))


def _three(source: str, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rows of all three parts; of those that are not there, tenths of the training rows."""
    missing = [part for part in PARTS if part not in rows]
    if not missing:
        return dict(rows)
    held = hold_out(source, Split(rows["train"]), len(missing))
    return {**rows, **{p: s.x for p, s in zip(("train", *missing), held, strict=True)}}


def _check_size(
    source: str, number: int, length: int, kind: str, whole: Sequence[Sequence[str]]
) -> None:
    if number * length <= _MOST_ENTRIES:
        return
    common = sorted(map(len, whole))[int(0.95 * number)]
    raise ValueError(
        f"{source} has {number:,} {kind}, the longest of {length - 1:,}, which would fill a table "
        f"of {number * length * 8 / 1e9:.0f} GB; give max_length={common}, which keeps 95 % of "
        "them, or a part of the data"
    )


def _about(splits: Sequence[Split], vocabulary: Vocabulary, numbering: Numbering) -> list[str]:
    """How many tokens of how many types there are, and how many are unknown."""
    tokens, kind = numbering.nouns
    ordinary = sum(int((split.x > 0).sum()) for split in splits)
    number = sum(map(len, splits))
    words = [
        f"{ordinary:,} {tokens} of {len(vocabulary) - 1 - vocabulary.knows_unknown:,} types, "
        f"{ordinary / number:.1f} a {kind[:-1]}"
    ]
    if vocabulary.knows_unknown:
        unknown = sum(int((split.x == 1).sum()) for split in splits)
        words.append(f"{unknown:,} unknown ({unknown / max(ordinary, 1):.2%})")
    trained = set(map(tuple, splits[0].x.tolist()))
    again = sum(row in trained for row in map(tuple, splits[2].x.tolist()))
    words.append(f"{again / len(splits[2]):.1%} of the test {kind} are among those to train on")
    return words
