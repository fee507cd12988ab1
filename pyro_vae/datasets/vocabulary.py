"""The tokens of a text, each with a number: `Vocabulary`."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vae.molecules import NOTATIONS

from .reading import reading

__all__ = ["BEHIND", "END", "UNKNOWN", "Vocabulary"]

END, UNKNOWN = "<end>", "<unk>"
BEHIND = -1  # the house's mark for what is missing among integers


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a text, such as words or characters, each with its place as its id.

    Id 0 is the end mark, which closes every sequence. If unknown tokens are allowed, id 1 stands
    for all of them. The others follow, the most frequent first. In a table of sequences, -1 stands
    behind the end mark.

    Args:
        tokens: All tokens in the order of their ids, with the marks.
        separator: What stands between two tokens of a text: a space for words, nothing for
            characters.
        notation: "smiles" or "selfies" if the texts are molecules in that notation.

    Raises:
        ValueError: If the first token is not the end mark, if one comes twice, or if there is no
            such notation.

    Example:
        >>> vocabulary = Vocabulary.of([["a", "man", "a", "plan"]])
        >>> vocabulary.ids(["a", "canal"])
        [2, 1, 0]
        >>> vocabulary.text([2, 4, 0, -1])
        'a plan'
    """

    tokens: tuple[str, ...]
    separator: str = " "
    notation: str | None = None

    def __post_init__(self) -> None:
        if not self.tokens or self.tokens[0] != END:
            raise ValueError(
                f"the first token of a vocabulary is the end mark {END!r}, but here "
                f"{self.tokens[:1] or 'there is none'}; Vocabulary.of(sequences) makes a right one"
            )
        if twice := [token for token, count in Counter(self.tokens).items() if count > 1]:
            raise ValueError(f"the vocabulary has {twice[0]!r} twice; give each token once")
        if self.notation is not None and self.notation not in NOTATIONS:
            raise ValueError(
                f"the notation of a vocabulary is None or one of {', '.join(NOTATIONS)}, but here "
                f"{self.notation!r}"
            )

    @classmethod
    def of(
        cls,
        sequences: Iterable[Iterable[str]],
        *,
        min_count: int = 1,
        max_words: int | None = None,
        separator: str = " ",
        unknown: bool = True,
        notation: str | None = None,
    ) -> "Vocabulary":
        """The tokens of some sequences, the most frequent first and alike ones by the alphabet.

        Args:
            sequences: Those to count.
            min_count: How often a token must come to be kept.
            max_words: How many are kept at most, the marks not counted; None keeps all.
            separator: What stands between two tokens of a text.
            unknown: Whether id 1 stands for all other tokens.
            notation: That of molecules.
        """
        counts = Counter(token for sequence in sequences for token in sequence)
        for mark in (END, UNKNOWN):  # a text that has these words does not mean the marks
            del counts[mark]
        kept = sorted(
            (token for token, count in counts.items() if count >= min_count),
            key=lambda token: (-counts[token], token),
        )
        marks = (END, UNKNOWN) if unknown else (END,)
        return cls((*marks, *kept[:max_words]), separator, notation)

    def __len__(self) -> int:
        """The number of tokens, with the marks."""
        return len(self.tokens)

    @property
    def knows_unknown(self) -> bool:
        """Whether id 1 stands for tokens that are not here."""
        return self.tokens[1:2] == (UNKNOWN,)

    def ids(self, tokens: Iterable[str]) -> list[int]:
        """The ids of a sequence of tokens, and the end mark.

        Raises:
            ValueError: If a token is not here, and none stands for those that are not.
        """
        places = self._places
        if self.knows_unknown:
            return [*(places.get(token, 1) for token in tokens), 0]
        try:
            return [*(places[token] for token in tokens), 0]
        except KeyError as error:
            raise ValueError(
                f"{error.args[0]!r} is none of the {len(self):,} tokens of the vocabulary, which "
                "has no mark for unknown ones; leave it out"
            ) from None

    def knows(self, tokens: Iterable[str]) -> bool:
        """Whether each token of a sequence has an id."""
        return self.knows_unknown or all(token in self._places for token in tokens)

    def table(self, sequences: Sequence[Iterable[str]], length: int) -> Tensor:
        """Sequences as rows of ids, int64 (N, length), with -1 behind the end mark of each.

        Raises:
            ValueError: If a sequence and its end mark are longer than `length`; as `ids`.
        """
        rows = torch.full((len(sequences), length), BEHIND)
        for row, sequence in zip(
            rows.numpy(), sequences, strict=True
        ):  # in numpy, which is quicker
            ids = self.ids(sequence)
            if len(ids) > length:
                raise ValueError(
                    f"a sequence has {len(ids)} tokens with its end mark, but the table {length} "
                    "columns; give a greater length"
                )
            row[: len(ids)] = ids
        return rows

    def text(self, ids: Tensor | Sequence[int]) -> str:
        """The text of a sequence of ids, (T,), up to its end.

        Raises:
            ValueError: If an id is of no token.
        """
        found = []
        for id in ids.tolist() if isinstance(ids, Tensor) else ids:
            if id in (0, BEHIND):
                break
            if not 0 <= id < len(self):
                raise ValueError(f"the ids are 0 to {len(self) - 1}, and {id} is none of them")
            found.append(self.tokens[id])
        return self.separator.join(found)

    def texts(self, x: Tensor) -> list[str]:
        """The texts of rows of ids, (N, T)."""
        return [self.text(ids) for ids in x.tolist()]

    def as_json(self) -> dict[str, Any]:
        """What `load` reads, as values of JSON."""
        notation = {} if self.notation is None else {"notation": self.notation}
        return {"separator": self.separator, **notation, "tokens": list(self.tokens)}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Reads a vocabulary, such as the `vocabulary.json` of a run folder.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no vocabulary.
        """
        path = Path(path)
        with reading(path):
            content = json.loads(path.read_text(encoding="utf-8"))
        parts = (content.get("separator"), content.get("tokens")) if _is_dict(content) else ()
        if not parts or not isinstance(parts[0], str) or not _are_texts(parts[1]):
            raise ValueError(
                f"{path} holds no vocabulary, which is JSON with a separator and a list of tokens; "
                "name the vocabulary.json of a run folder"
            )
        try:
            return cls(tuple(parts[1]), parts[0], content.get("notation"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    @cached_property
    def _places(self) -> dict[str, int]:
        """The id of each token; the end mark is no token of a text."""
        return {token: id for id, token in enumerate(self.tokens) if id}


def _is_dict(content: Any) -> bool:
    return isinstance(content, dict)


def _are_texts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(token, str) for token in content)
