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
