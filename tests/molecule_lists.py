"""Well-known molecules, for the tests of what is said of molecules."""

# Ethanol, acetic acid, benzene, aspirin, caffeine, paracetamol, ibuprofen, alanine, nicotine,
# chloroform, toluene, phenol, pyridine, cyclohexane, urea.
KNOWN = [
    "CCO",
    "CC(=O)O",
    "c1ccccc1",
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CC(=O)Nc1ccc(O)cc1",
    "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
    "C[C@H](N)C(=O)O",
    "CN1CCC[C@H]1c1cccnc1",
    "ClC(Cl)Cl",
    "Cc1ccccc1",
    "Oc1ccccc1",
    "c1ccncc1",
    "C1CCCCC1",
    "NC(N)=O",
]
# An open bracket, a carbon of five bonds, an aromatic ring of five carbons, no SMILES, nothing.
BROKEN = ["C(C", "C(C)(C)(C)(C)C", "c1cccc1", "hello", ""]
