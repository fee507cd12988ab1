"""Texts of your own, a sentence a line: words or characters."""

import os
from collections.abc import Callable
from pathlib import Path

from .dataset import Dataset
from .reading import reading
from .tokens import Numbering, numbered
from .vocabulary import Vocabulary

__all__ = ["text"]

# What stands between two tokens, what tokens and sequences are called, what cuts a line.
_KINDS: dict[str, tuple[str, tuple[str, str], Callable[[str], list[str]]]] = {
    "words": (" ", ("words", "sentences"), str.split),
    "characters": ("", ("characters", "lines"), list),
}


def text(
    path: str | os.PathLike[str],
    *,
    tokens: str = "words",
    valid: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
    max_length: int | None = None,
    max_words: int | None = None,
    min_count: int = 1,
    lower: bool = False,
    encoding: str = "utf-8",
    vocabulary: str | os.PathLike[str] | None = None,
) -> Dataset:
    """A file of text, one sequence a line, as ids of its words or characters.

    x is int64 (N, T): the ids of a line, the end mark 0, and -1 behind it. T is one more than
    `max_length`, or than the longest line has tokens. Id 1 stands for all tokens that the
    vocabulary does not have, which is that of the training part. Empty lines and lines of more than
    `max_length` tokens are left out; `Dataset.description` says how many.

    Args:
        path: The file to train on.
        tokens: "words", which is what stands between spaces; or "characters". Sentences whose
            punctuation marks are to be words of their own have spaces around them.
        valid: The file to choose by; by default a fixed permutation takes a tenth of the first.
        test: The file to report, likewise.
        max_length: The most tokens of a line, the end mark not counted.
        max_words: How many words, or characters, the vocabulary has at most, the most frequent of
            the training part; "<unk>" in a file is the unknown word.
        min_count: How often a word must come in the training part to be in the vocabulary.
        lower: Whether capitals become small letters.
        encoding: That of the files.
        vocabulary: The `vocabulary.json` of a run folder, to number the words as that run did.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is of another encoding or holds no text, or an argument is wrong.
    """
    if tokens not in _KINDS:
        raise ValueError(f"tokens must be 'words' or 'characters', but is {tokens!r}")
    separator, nouns, cut = _KINDS[tokens]
    numbering = Numbering(
        nouns,
        separator,
        max_length,
        max_words,
        min_count,
        vocabulary=None if vocabulary is None else _vocabulary(vocabulary, separator, tokens),
    )
    given = {"train": path, "valid": valid, "test": test}
    files = {part: _path(part, file) for part, file in given.items() if file is not None}
    parts, empty = {}, 0
    for part, file in files.items():
        lines = read_lines(file, encoding)
        kept = [line for line in lines if line]
        empty += len(lines) - len(kept)
        if not kept:
            raise ValueError(f"{file} has no line that is not empty; give a file with a text")
        parts[part] = [cut(line.lower() if lower else line) for line in kept]
    notes = [f"{empty:,} empty lines left out"] if empty else []
    name = files["train"].stem
    return numbered(name, str(files["train"]), parts, numbering, notes=notes)


def read_lines(path: Path, encoding: str) -> list[str]:
    """The lines of a text, without the spaces at their ends.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another encoding, or cannot be read.
    """
    with reading(path):
        content = path.read_bytes()
    try:
        decoded = content.decode(encoding)
    except LookupError as error:
        raise ValueError(
            f"there is no encoding {encoding!r}; give one that Python knows, such as 'latin-1'"
        ) from error
    except UnicodeDecodeError as error:
        line, byte = content[: error.start].count(b"\n") + 1, content[error.start]
        raise ValueError(
            f"{path} is not in {encoding}: line {line:,} has the byte 0x{byte:02x}; "
            "give its encoding, such as encoding='latin-1', or convert it"
        ) from error
    if "\0" in decoded:
        raise ValueError(f"{path} holds zeros, as no text in {encoding} does; give a file of text")
    lines = decoded.removeprefix("\ufeff").split("\n")
    return [line.strip() for line in (lines if lines[-1] else lines[:-1])]


def _path(part: str, file: object) -> Path:
    if not isinstance(file, str | os.PathLike):
        name = "path" if part == "train" else part
        raise ValueError(f"{name} must be the path of a file, in quotes, but is {file!r}")
    return Path(file).expanduser()


def _vocabulary(path: str | os.PathLike[str], separator: str, tokens: str) -> Vocabulary:
    vocabulary = Vocabulary.load(path)
    if vocabulary.separator != separator:
        raise ValueError(
            f"{path} is no vocabulary of {tokens}: it joins its tokens with "
            f"{vocabulary.separator!r}; give tokens as they were for it"
        )
    return vocabulary
