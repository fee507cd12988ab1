"""Molecules as sequences of tokens: files of SMILES of your own, and ZINC."""

import csv
import gzip
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pyro_vae.molecules import NOTATIONS, molecules

from .dataset import Dataset
from .reading import Refusal, reading, required
from .split import PARTS
from .tokens import Numbering, check_count, numbered
from .vocabulary import Vocabulary

__all__ = ["smiles", "zinc"]


def smiles(
    path: str | os.PathLike[str],
    *,
    tokens: str = "smiles",
    valid: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
    max_length: int | None = None,
    limit: int | None = None,
    vocabulary: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Molecules of a file with a SMILES a line, as ids of their tokens; extra `molecules`.

    x is int64 (N, T): the ids of a molecule, the end mark 0, and -1 behind it. T is one more than
    `max_length`, or than the longest molecule has tokens. The vocabulary is that of the training
    part. Left out, and counted in `Dataset.description`, are texts that do not parse, molecules
    that SELFIES cannot write, those of more than `max_length` tokens, and those with tokens that
    training never saw. Duplicates stay, and are counted.

    Args:
        path: The file to train on, which may be packed by gzip. What stands behind a space of a
            line, such as a name, is not read. A file `.csv` has a column `smiles`, and may have a
            column `split` that says "train", "valid" or "test".
        tokens: "smiles" for the atoms, bonds and rings of SMILES; or "selfies", of which any
            sequence is a molecule.
        valid: The file to choose by; by default a fixed permutation takes a tenth of the first.
        test: The file to report, likewise.
        max_length: The most tokens of a molecule, the end mark not counted.
        limit: The most molecules of a part, a fixed random choice; None takes all.
        vocabulary: The `vocabulary.json` of a run folder, to number the tokens as that run did.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file holds no molecules, rdkit or selfies is not installed, or an argument
            is wrong.
    """
    files = {"train": path, "valid": valid, "test": test}
    parts: dict[str, list[str]] = {}
    for part, file in files.items():
        if file is not None:
            parts |= _texts(part, _path("path" if part == "train" else part, file))
    given = None if vocabulary is None else _vocabulary(vocabulary, tokens)
    return _dataset(
        Path(path).name.split(".")[0], str(path), parts, tokens, max_length, limit, given
    )


def zinc(
    data_dir: str | os.PathLike[str] = "data",
    *,
    tokens: str = "smiles",
    max_length: int | None = None,
    limit: int | None = None,
) -> Dataset:
    """ZINC 250k: 249,455 purchasable molecules like drugs, in three given parts.

    As to the rest see `smiles`.

    Args:
        data_dir: Has `zinc/zinc250k_smiles.csv.gz`: columns smiles and split.
        tokens: "smiles" or "selfies".
        max_length: The most tokens of a molecule, the end mark not counted.
        limit: The most molecules of a part, a fixed random choice; None takes all.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged, rdkit or selfies is not installed, or an argument is wrong.

    Reference:
        Irwin et al., 2012, https://doi.org/10.1021/ci3001277; the choice of Gomez-Bombarelli et
        al., 2018, https://arxiv.org/abs/1610.02415; the parts of Jin et al., 2018,
        https://arxiv.org/abs/1802.04364
    """
    path = Path(data_dir) / "zinc" / "zinc250k_smiles.csv.gz"
    required(path, "a table with columns smiles and split")
    return _dataset("zinc", str(path), _texts("train", path), tokens, max_length, limit, None)


@dataclass
class _Reading:
    """The molecules of a part as tokens, and how many texts are left out.

    Args:
        sequences: Their tokens.
        unparsed: Texts that do not parse.
        unwritten: Molecules that the notation cannot write.
        repeated: Molecules whose SMILES stands in the part already.
    """

    sequences: list[list[str]]
    unparsed: list[str]
    unwritten: list[str]
    repeated: int

    @classmethod
    def of(cls, texts: Sequence[str], tokens: str) -> "_Reading":
        found = cls([], [], [], 0)
        seen = set()
        for text, mol in zip(texts, molecules(texts), strict=True):
            if mol is None:
                found.unparsed.append(text)
                continue
            try:
                found.sequences.append(NOTATIONS[tokens].tokens(text))
            except ValueError:
                found.unwritten.append(text)
            found.repeated += text in seen
            seen.add(text)
        return found


def _dataset(
    name: str,
    source: str,
    parts: dict[str, list[str]],
    tokens: str,
    max_length: int | None,
    limit: int | None,
    vocabulary: Vocabulary | None,
) -> Dataset:
    if tokens not in NOTATIONS:
        raise ValueError(f"tokens must be 'smiles' or 'selfies', but is {tokens!r}")
    numbering = Numbering(
        ("tokens", "molecules"),
        "",
        max_length,
        vocabulary=vocabulary,
        notation=tokens,
    )
    if limit is not None:
        check_count("limit", limit)
        parts = {part: _some(texts, limit) for part, texts in parts.items()}
    read = {part: _Reading.of(texts, tokens) for part, texts in parts.items()}
    for part, found in read.items():
        if not found.sequences:
            raise ValueError(
                f"{source} has no molecules to {part} on: of {len(parts[part]):,} texts "
                f"{len(found.unparsed):,} do not parse as SMILES, such as "
                f"{[*found.unparsed, *found.unwritten][:1]}; give a file with a SMILES a line"
            )
    notes = _notes(list(read.values()), tokens)
    sequences = {part: found.sequences for part, found in read.items()}
    return numbered(name, source, sequences, numbering, notes=notes)


def _notes(read: Sequence[_Reading], tokens: str) -> list[str]:
    """What was left out, and what comes twice."""
    unparsed = [text for part in read for text in part.unparsed]
    unwritten = [text for part in read for text in part.unwritten]
    repeated = sum(part.repeated for part in read)
    notes = []
    if unparsed:
        notes.append(f"{len(unparsed):,} texts that do not parse left out, such as {unparsed[0]!r}")
    if unwritten:
        notes.append(
            f"{len(unwritten):,} molecules that {tokens.upper()} cannot write left out, such as "
            f"{unwritten[0]!r}"
        )
    if repeated:
        notes.append(f"{repeated:,} molecules come again in their part")
    return notes


def _some(texts: list[str], limit: int) -> list[str]:
    """A fixed random choice of so many texts, in their order; all if there are no more."""
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    return [texts[i] for i in order[:limit].sort().values.tolist()]


def _texts(part: str, path: Path) -> dict[str, list[str]]:
    """The texts of a file by part: of one, if it has no column of parts."""
    with reading(path):
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        lines = content.decode("utf-8-sig").splitlines()
        if path.name.removesuffix(".gz").endswith(".csv"):
            found = _columns(part, path, lines)
        else:
            found = {part: [line.split()[0] for line in lines if line.strip()]}
    if empty := [part for part, texts in found.items() if not texts]:
        raise ValueError(f"{path} has no molecules to {empty[0]} on; give a SMILES a line")
    return found


def _columns(part: str, path: Path, lines: Sequence[str]) -> dict[str, list[str]]:
    rows = csv.DictReader(lines)
    if "smiles" not in (names := rows.fieldnames or []):
        raise Refusal(
            f"{path} has columns {', '.join(names)}, but none called smiles; call one so, or give "
            "a file with a SMILES a line"
        )
    texts = [(row.get("split") or part, (row["smiles"] or "").strip()) for row in rows]
    if "split" not in names or part != "train":
        return {part: [text for _, text in texts if text]}
    if strange := {name for name, _ in texts} - set(PARTS):
        raise Refusal(
            f"{path} has a part {min(strange)!r} in its column split, but the parts are "
            f"{', '.join(PARTS)}"
        )
    found = {name: [text for of, text in texts if of == name and text] for name in PARTS}
    return {name: texts for name, texts in found.items() if texts or name == "train"}


def _path(name: str, file: object) -> Path:
    if not isinstance(file, str | os.PathLike):
        raise ValueError(f"{name} must be the path of a file, in quotes, but is {file!r}")
    return Path(file).expanduser()


def _vocabulary(path: str | os.PathLike[str], tokens: str) -> Vocabulary:
    vocabulary = Vocabulary.load(path)
    if vocabulary.notation != tokens:
        raise ValueError(
            f"{path} is a vocabulary of {vocabulary.notation or 'texts, not of molecules'}, but "
            f"tokens is {tokens!r}; give tokens as they were for it"
        )
    return vocabulary
