"""Codes and their second stage by the command line."""

import json

VQVAE = "VQVAE(posterior=NearestCode(8, 4), channels=(8, 8))"
LOSS = "Trace_ELBO(factors={'commitment': 0.25})"
REFIT = "Refit(load('vq'), prior=PixelCNNPrior(channels=8, layers=1))"


def test_a_prior_of_codes_is_trained_judged_and_sampled(run, tmp_path):
    assert run("train", VQVAE, "--epochs", 1, "--loss", LOSS, "--out", "vq")[0] == 0
    code, out, _ = run("train", REFIT, "--epochs", 1, "--out", "prior")
    assert code == 0 and "codes_used" in out and "perplexity" in out
    code, out, _ = run("evaluate", "prior", "--num-particles", 2)
    assert code == 0 and "of 8 codes used" in out and "bits per dimension" in out
    assert "codes" in json.loads((tmp_path / "prior" / "evaluation-test.json").read_text())
    assert run("sample", "prior", "-n", 4, "--temperature", 0.5, "--top-k", 2)[0] == 0
    assert (tmp_path / "prior" / "samples.png").stat().st_size > 1000
    code, _, error = run("interpolate", "prior")
    assert code == 2 and "['z'] are discrete, so nothing lies between two of them" in error
    code, _, error = run("sample", "vq", "--temperature", 0.5)
    assert code == 2 and "this program has none" in error


def test_a_second_stage_of_what_is_no_run_is_refused(run):
    code, _, error = run("train", REFIT, "--epochs", 1)
    assert code == 2 and "no run folder 'vq'" in error
