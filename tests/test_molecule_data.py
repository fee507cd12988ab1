"""Files of SMILES as data: what is read, what is left out and counted, and what is refused."""

import gzip
import json

import pytest
import torch

from pyro_vae.datasets import Vocabulary, smiles, zinc
from pyro_vae.likelihoods import RecurrentTokens
from pyro_vae.molecules import NOTATIONS, canonical

from .molecule_lists import BROKEN, KNOWN


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes lines into a file of an empty folder, where paths begin."""
    monkeypatch.chdir(tmp_path)

    def write(lines, name="mine.smi"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = "".join(f"{line}\n" for line in lines).encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return name

    return write


@pytest.fixture
def thrice(write):
    """All known molecules to train on, to choose by and to report."""
    write(KNOWN)
    return {"path": "mine.smi", "valid": "mine.smi", "test": "mine.smi"}


@pytest.mark.parametrize("tokens", NOTATIONS)
def test_molecules_come_back_from_their_ids(thrice, tokens):
    data = smiles(**thrice, tokens=tokens)
    texts = data.vocabulary.texts(data.train.x)
    assert canonical(map(NOTATIONS[tokens].smiles, texts)) == canonical(KNOWN)
    assert data.vocabulary.notation == tokens and not data.vocabulary.knows_unknown
    assert data.x_dtype == torch.int64 and data.train.ragged
    assert data.num_tokens == 1 + len({t for k in KNOWN for t in NOTATIONS[tokens].tokens(k)})
    assert isinstance(data.likelihood(data.x_shape), RecurrentTokens)


def test_a_row_ends_with_0_and_has_minus_1_behind(thrice):
    data = smiles(**thrice)
    assert data.x_shape == (1 + len("CC(C)Cc1ccc(C(C)C(=O)O)cc1"),)
    assert data.train.x[0].tolist() == [*data.vocabulary.ids("CCO"), *[-1] * 23]
    assert data.train.x[0, 3] == 0


def test_a_tenth_is_held_out_by_a_fixed_permutation(write):
    path = write(KNOWN * 4)
    first, again = smiles(path), smiles(path)
    assert [len(part) for part in (first.train, first.valid, first.test)] == [48, 6, 6]
    assert torch.equal(first.test.x, again.test.x)


def test_what_does_not_parse_is_left_out_and_counted(write, capfd):
    data = smiles(write([*KNOWN, *BROKEN] * 2))
    assert sum(map(len, (data.train, data.valid, data.test))) == 30
    # BROKEN has an empty line, which is no text
    assert "8 texts that do not parse left out, such as 'C(C'" in data.description
    assert "15 molecules come again in their part" in data.description
    assert capfd.readouterr().err == ""


def test_what_selfies_cannot_write_is_left_out_and_counted(write):
    path = write([*KNOWN, "C*"])
    said = "1 molecules that SELFIES cannot write left out, such as 'C*'"
    assert said in smiles(path, tokens="selfies").description
    assert "left out" not in smiles(write([*KNOWN, "C*"] * 2)).description


def test_tokens_that_training_never_saw_are_left_out_and_counted(thrice, write):
    thrice["test"] = write(["CCO", "C[Si](C)(C)C", "CCBr"], "test.smi")
    data = smiles(**thrice)
    assert data.vocabulary.texts(data.test.x) == ["CCO"]
    assert "2 molecules with tokens that the vocabulary lacks left out" in data.description
    assert "100.0% of the test molecules are among those to train on" in data.description


def test_a_part_of_unseen_tokens_alone_is_refused(thrice, write):
    thrice["test"] = write(["C[Si](C)(C)C", "CCBr"], "test.smi")
    with pytest.raises(ValueError, match="of 2 molecules to test on each has a token that the voc"):
        smiles(**thrice)


def test_long_molecules_are_left_out_and_counted(thrice):
    data = smiles(**thrice, max_length=8)
    assert data.x_shape == (9,) and "left out" in data.description
    short = [text for text in KNOWN if len(text) <= 8 or text == "ClC(Cl)Cl"]  # Cl is one token
    assert data.vocabulary.texts(data.train.x) == short


def test_names_behind_the_smiles_are_not_read(write, thrice):
    write([f"{text}\tname of {i}" for i, text in enumerate(KNOWN)])
    assert smiles(**thrice).vocabulary.texts(smiles(**thrice).train.x) == KNOWN


def test_a_limit_is_a_fixed_choice_in_each_part(thrice):
    data = smiles(**thrice, limit=6)
    texts = data.vocabulary.texts(data.train.x)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [6, 6, 6]
    assert texts == [text for text in KNOWN if text in texts] and texts != KNOWN[:6]
    assert torch.equal(data.train.x, smiles(**thrice, limit=6).train.x)


def test_a_table_has_its_molecules_in_a_column(write):
    path = write(["id,smiles", *(f"{i},{text}" for i, text in enumerate(KNOWN * 2))], "a.csv")
    data = smiles(path)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [24, 3, 3]


def test_zinc_has_its_parts_in_a_column(write):
    rows = [f"{text},train" for text in KNOWN] + ["CCO,valid", "CC(=O)O,test", "CCC,test"]
    write(["smiles,split", *rows], "data/zinc/zinc250k_smiles.csv.gz")
    data = zinc()
    found = [data.vocabulary.texts(part.x) for part in (data.train, data.valid, data.test)]
    assert found == [KNOWN, ["CCO"], ["CC(=O)O", "CCC"]]
    assert zinc("data", tokens="selfies").vocabulary.notation == "selfies"


def test_a_vocabulary_of_a_run_numbers_other_molecules(thrice, write):
    known = smiles(**thrice).vocabulary
    write([json.dumps(known.as_json())], "v.json")
    data = smiles(write(["CCO", "CCN", "CCCl"] * 10, "new.smi"), vocabulary="v.json", max_length=27)
    assert data.vocabulary == known == Vocabulary.load("v.json")
    with pytest.raises(ValueError, match="is a vocabulary of smiles, but tokens is 'selfies'"):
        smiles("new.smi", tokens="selfies", vocabulary="v.json")


def test_a_vocabulary_of_an_unknown_notation_is_refused():
    with pytest.raises(ValueError, match="None or one of smiles, selfies, but here 'inchi'"):
        Vocabulary(("<end>", "C"), "", "inchi")


@pytest.mark.parametrize(
    "lines, options, sentence",
    [
        (["no", "one"], {}, "has no molecules to train on: of 2 texts 2 do not parse as SMILES"),
        (["", " "], {}, "mine.smi has no molecules to train on; give a SMILES a line"),
        (KNOWN, {"tokens": "inchi"}, "tokens must be 'smiles' or 'selfies', but is 'inchi'"),
        (KNOWN, {"max_length": 0}, "max_length must be a whole number from 1 on"),
        (KNOWN, {"limit": -1}, "limit must be a whole number from 1 on, but is -1"),
        (KNOWN, {"valid": 3}, "valid must be the path of a file, in quotes, but is 3"),
        (KNOWN, {"max_length": 2}, "has no molecules to train on: of 15 molecules none has at"),
        (["C", "N"], {}, "mine.smi"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(write, lines, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        smiles(write(lines), **options)


@pytest.mark.parametrize(
    "lines, sentence",
    [
        (["text,split", "CCO,train"], "has columns text, split, but none called smiles"),
        (["smiles,split", "CCO,all"], "has a part 'all' in its column split"),
        (["smiles,split", "CCO,test"], "has no molecules to train on"),
    ],
)
def test_a_table_without_its_columns_is_refused(write, lines, sentence):
    with pytest.raises(ValueError, match=sentence):
        smiles(write(lines, "a.csv"))


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*put there a table with colum"):
        zinc(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        smiles(tmp_path / "none.smi")


def test_a_file_of_another_encoding_or_kind_is_refused(tmp_path):
    (tmp_path / "a.smi").write_bytes("CCO é".encode("latin-1"))
    (tmp_path / "b.smi.gz").write_bytes(b"CCO")
    for name in ("a.smi", "b.smi.gz"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            smiles(tmp_path / name)
