"""What is said of molecules: against rdkit used directly, lists by hand, and closed cases."""

import math
import sys

import numpy as np
import pytest

from pyro_vae.molecules import (
    NOTATIONS,
    canonical,
    canonical_or_not,
    chemnet,
    fingerprints,
    frechet_chemnet_distance,
    frechet_distance,
    internal_diversity,
    lengths,
    log_p,
    molecules,
    nearest,
    novelty,
    picture,
    qed,
    summary,
    uniqueness,
    valid_share,
)
from pyro_vae.molecules.notations import smiles_tokens

from .molecule_lists import BROKEN, KNOWN

# Parsing


def test_canonical_smiles_are_those_of_rdkit():
    from rdkit import Chem

    assert canonical(KNOWN) == [Chem.MolToSmiles(Chem.MolFromSmiles(text)) for text in KNOWN]


def test_two_ways_to_write_a_molecule_have_one_canonical_smiles():
    assert canonical(["OCC", "C(O)C", "[CH3][CH2][OH]"]) == ["CCO"] * 3


def test_what_is_no_molecule_does_not_parse():
    assert canonical(BROKEN) == [None] * len(BROKEN)
    assert canonical_or_not(["OCC", "C(C"]) == ["CCO", "C(C"]


def test_what_does_not_parse_prints_nothing(capfd):
    canonical(BROKEN)
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_rdkit_still_says_to_others_what_does_not_parse(capfd):
    from rdkit import Chem

    found = molecules([*BROKEN, "CCO"])
    next(found)
    Chem.MolFromSmiles("C(C")
    assert "C(C" in capfd.readouterr().err


# Notations


def test_tokens_of_smiles_are_atoms_bonds_and_rings():
    text = "C[C@@H](Cl)c1ccc(Br)cc1%12/C=C\\[O-]"
    assert smiles_tokens(text) == [
        *("C", "[C@@H]", "(", "Cl", ")", "c", "1", "c", "c", "c", "(", "Br", ")", "c", "c", "1"),
        *("%12", "/", "C", "=", "C", "\\", "[O-]"),
    ]


@pytest.mark.parametrize("notation", NOTATIONS.values(), ids=NOTATIONS)
def test_a_molecule_comes_back_from_its_tokens(notation):
    back = [notation.smiles("".join(notation.tokens(text))) for text in KNOWN]
    assert canonical(back) == canonical(KNOWN)


def test_tokens_of_selfies_are_those_of_the_package():
    import selfies

    for text in KNOWN:
        assert "".join(NOTATIONS["selfies"].tokens(text)) == selfies.encoder(text)
    assert NOTATIONS["selfies"].tokens("CCO") == ["[C]", "[C]", "[O]"]


def test_any_sequence_of_selfies_is_a_molecule():
    tokens = sorted({t for text in KNOWN for t in NOTATIONS["selfies"].tokens(text)})
    rng = np.random.default_rng(0)
    texts = ["[C]" + "".join(rng.choice(tokens, 15)) for _ in range(200)]
    assert valid_share([NOTATIONS["selfies"].smiles(text) for text in texts]) == 1


def test_what_selfies_cannot_write_is_refused():
    with pytest.raises(ValueError, match=r"'C\*' cannot be written as SELFIES"):
        NOTATIONS["selfies"].tokens("C*")


# Shares


def test_valid_is_the_share_that_parses():
    assert valid_share([*KNOWN[:5], *BROKEN]) == 0.5
    assert math.isnan(valid_share([]))


@pytest.mark.parametrize(
    "k, expected", [(None, 3 / 5), (5, 3 / 5), (3, 1 / 3), (4, 1 / 2), (1, 1), (100, 3 / 5)]
)
def test_unique_is_the_share_of_different_ones_among_the_first_that_parse(k, expected):
    assert uniqueness(["CCO", "OCC", "C(C", "C(O)C", "c1ccccc1", "C"], k) == expected


def test_novel_is_the_share_of_different_ones_that_training_had_not():
    drawn = ["OCC", "CCO", "C(C", "c1ccccc1", "C1CCCCC1"]
    assert novelty(drawn, ["CCO", "NC(N)=O"]) == 2 / 3
    assert novelty(KNOWN, canonical(KNOWN)) == 0 and math.isnan(novelty(BROKEN, []))


def test_a_k_below_1_is_refused():
    with pytest.raises(ValueError, match="k must be at least 1, but is 0"):
        uniqueness(KNOWN, 0)


# Similarity


def bits(text):
    """The places of a fingerprint's ones, by another interface of rdkit."""
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    return set(np.flatnonzero(generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(text))))


def tanimoto(a, b):
    return len(bits(a) & bits(b)) / len(bits(a) | bits(b))


def test_fingerprints_are_morgans_of_1024_bits():
    for text, found in zip(KNOWN, fingerprints(KNOWN), strict=True):
        assert set(found.GetOnBits()) == bits(text) and len(found) == 1024


@pytest.mark.parametrize("p", [1, 2])
def test_internal_diversity_is_that_of_all_pairs(p):
    mean = np.mean([[tanimoto(a, b) ** p for b in KNOWN] for a in KNOWN])
    assert internal_diversity([*KNOWN, "C(C"], p) == pytest.approx(1 - mean ** (1 / p), abs=1e-12)


def test_internal_diversity_of_one_molecule_is_0_and_of_two_without_common_bits_a_half():
    assert internal_diversity(["CCO", "OCC"]) == 0
    assert tanimoto("ClC(Cl)Cl", "c1ccccc1") == 0
    assert internal_diversity(["ClC(Cl)Cl", "c1ccccc1"]) == 0.5
    assert internal_diversity(["ClC(Cl)Cl", "c1ccccc1"], 2) == pytest.approx(1 - 0.5**0.5)
    assert math.isnan(internal_diversity(BROKEN))


def test_the_nearest_molecule_is_the_most_similar_one():
    others = KNOWN[1:]
    for text, (found, similarity) in zip(KNOWN[:4], nearest(KNOWN[:4], others), strict=True):
        each = [tanimoto(text, other) for other in others]
        assert similarity == pytest.approx(max(each)) and found == others[int(np.argmax(each))]
    assert nearest(["OCC"], [*BROKEN, *KNOWN]) == [("CCO", 1.0)]


def test_the_nearest_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no molecules to look for the nearest among"):
        nearest(KNOWN, BROKEN)


# Properties


def test_properties_are_those_of_rdkit():
    from rdkit import Chem
    from rdkit.Chem import QED, Descriptors

    mols = [Chem.MolFromSmiles(text) for text in KNOWN]
    assert log_p(KNOWN) == [Descriptors.MolLogP(mol) for mol in mols]
    assert qed(KNOWN) == [QED.default(mol) for mol in mols]


def test_published_values_come_out():
    assert log_p(["c1ccccc1"]) == [pytest.approx(6 * 0.1581 + 6 * 0.1230)]  # C18 and H1, table 1
    assert qed(["CC(=O)Oc1ccccc1C(=O)O"]) == [pytest.approx(0.550, abs=5e-4)]


def test_lengths_are_numbers_of_tokens():
    assert lengths(["CCO", "C[C@H](Cl)Br", ""]) == [3, 6, 0]


@pytest.mark.parametrize("of", [log_p, qed, fingerprints])
def test_a_text_that_does_not_parse_has_no_property(of):
    with pytest.raises(ValueError, match=r"'C\(C' does not parse as SMILES"):
        of(["CCO", "C(C"])


# Frechet ChemNet distance


def test_the_frechet_distance_of_normals_on_a_line_is_in_closed_form():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 1)), 3 + 2 * rng.normal(size=(70, 1))
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("rows", [200, 4])  # 4 rows of 6 numbers have a covariance without inverse
def test_the_frechet_distance_is_that_of_the_roots_of_covariances(rows):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(rows, 6)), rng.normal(size=(100, 6)) @ rng.normal(size=(6, 6))

    def root(c):
        values, vectors = np.linalg.eigh(c)
        return vectors * np.sqrt(values.clip(0)) @ vectors.T

    c, d = np.cov(x.T), np.cov(y.T)
    common = root(root(c) @ d @ root(c))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c + d - 2 * common)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_the_frechet_distance_of_a_set_to_itself_is_0_and_to_a_shifted_one_the_shift():
    x = np.random.default_rng(2).normal(size=(30, 5))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + 2) == pytest.approx(20, rel=1e-10)


def test_a_single_item_has_no_covariance():
    with pytest.raises(ValueError, match="a set has 1 items, but a covariance needs two"):
        frechet_distance(np.zeros((1, 2)), np.zeros((5, 2)))


@pytest.mark.filterwarnings("ignore")  # what fcd calls is deprecated
def test_the_frechet_chemnet_distance_is_that_of_the_package():
    import fcd

    ours = frechet_chemnet_distance([*KNOWN[:8], "C(C"], KNOWN[8:])
    theirs = fcd.get_predictions(fcd.load_ref_model(), canonical(KNOWN), n_jobs=0, device="cpu")
    # float32 of a root of a singular covariance
    np.testing.assert_allclose(chemnet(KNOWN), theirs, rtol=1e-4, atol=1e-5)
    x, y = theirs[:8].astype(float), theirs[8:].astype(float)
    expected = fcd.calculate_frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert ours == pytest.approx(expected, rel=1e-3)


# Pictures and summaries


def test_a_picture_has_a_place_for_each_molecule(capfd):
    image = picture([*KNOWN[:4], "C(C", "CCO"], legends=list("abcdef"))
    assert image.size == (1000, 500)
    assert picture(["CCO"]).size == (250, 250)
    place = np.asarray(image.convert("L"))
    assert (place[250:450, :250] == 255).all()  # what does not parse
    assert (place[250:450, 250:500] < 255).any()
    assert capfd.readouterr().err == ""


def test_a_picture_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no molecules to draw"):
        picture([])


def test_a_summary_is_of_those_that_parse():
    drawn = ["OCC", "CCO", "C(C", "c1ccccc1"]
    found = summary(drawn, train=["CCO"])
    assert (found.number, found.valid, found.unique, found.novel) == (4, 0.75, {3: 2 / 3}, 0.5)
    assert found.log_p.mean == pytest.approx(np.mean(log_p(["CCO", "CCO", "c1ccccc1"])))
    assert found.qed.deviation == pytest.approx(np.std(qed(["CCO", "CCO", "c1ccccc1"])))
    assert (found.length.low, found.length.high) == (3, pytest.approx(3 + 0.9 * 5))
    assert found.diversity_2 == internal_diversity(drawn, 2) and found.fcd is None


def test_a_summary_of_nothing_valid_has_no_numbers():
    found = summary(BROKEN, train=["CCO"]).as_json()
    assert found["valid"] == 0 and found["novel"] is None and found["qed"]["mean"] is None


def test_a_summary_has_fcd_of_enough_molecules(monkeypatch):
    module = sys.modules["pyro_vae.molecules.summary"]
    monkeypatch.setattr(module, "FEWEST_FOR_FCD", 15)
    monkeypatch.setattr(module, "chemnet", lambda smiles: np.arange(30.0).reshape(15, 2))
    assert summary(KNOWN, [], np.arange(30.0).reshape(15, 2) + 1).fcd == pytest.approx(2)
    assert summary(KNOWN[1:], [], np.arange(30.0).reshape(15, 2)).fcd is None


@pytest.mark.parametrize(
    "module, use",
    [
        ("rdkit", lambda: canonical(["C"])),
        ("selfies", lambda: NOTATIONS["selfies"].tokens("C")),
        ("fcd", lambda: chemnet(["C"])),
    ],
)
def test_a_missing_package_is_said_with_the_command_that_installs_it(monkeypatch, module, use):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"{module}.*pip install 'pyro-vae\[molecules\]'"):
        use()
