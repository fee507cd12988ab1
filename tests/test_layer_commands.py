"""What each layer of a hierarchy holds, by the command line."""

import json

import pytest

PROGRAM = "HierarchicalVAE(latent_dims=(3, 2), hidden=(8,))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, command):
    folder = tmp_path_factory.mktemp("hierarchy") / "run"
    assert command("train", PROGRAM, "--epochs", 1, "--out", folder) == 0
    return folder


def test_a_training_records_the_rate_of_each_latent(folder):
    record = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert {"rate of z_2", "rate of z_1"} <= set(record)


def test_evaluate_lists_rate_and_active_units_of_each_latent(run, folder):
    code, out, _ = run("evaluate", folder, "--num-particles", 2, "--limit", 50)
    assert code == 0 and "active units" in out
    sites = json.loads((folder / "evaluation-test.json").read_text())["sites"]
    assert list(sites) == ["z_2", "z_1"] and [s["units"] for s in sites.values()] == [2, 3]
    assert f"{sites['z_1']['active']} of 3" in out


def test_layers_and_numbers_are_shown_as_pictures(run, folder):
    code, out, _ = run("reconstruct", folder, "--layers", "-n", 4, "--temperature", 1)
    assert code == 0 and str(folder / "layers.png") in out
    code, out, _ = run("traverse", folder, "--site", "z_2", "-n", 2, "--steps", 3)
    assert code == 0 and str(folder / "traversal.png") in out
    assert run("traverse", folder, "--site", "z_1", "--prior", "--out", folder / "p.png")[0] == 0
    for name in ("layers", "traversal", "p"):
        assert (folder / f"{name}.png").stat().st_size > 1000


def test_samples_have_a_temperature(run, folder):
    for text in ("0.7", "{'z_1': 0.5}"):
        assert run("sample", folder, "-n", 4, "--temperature", text)[0] == 0


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("sample", "--temperature", "-1"), "temperature is -1, but must be at least 0"),
        (("sample", "--temperature", "{'z_3': 1}"), "names ['z_3']"),
        (("sample", "--temperature", "hot"), "must be a number such as 0.7"),
        (("reconstruct", "--layers", "--temperature", "{'z_3': 1}"), "names ['z_3']"),
        (("traverse",), "name one of them as site"),
        (("traverse", "--site", "z_3"), "no latent 'z_3'"),
        (("traverse", "--site", "z_1", "--datum", 300), "the test data are 0 to 299"),
    ],
)
def test_layers_that_are_not_there_are_refused(run, folder, words, sentence):
    code, _, error = run(words[0], folder, *words[1:])
    assert code == 2 and sentence in error
