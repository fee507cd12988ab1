"""The command `anomalies`: its table, threshold, pictures and refusals."""

import csv

import numpy as np
import pytest

from pyro_vae import load
from pyro_vae.datasets import digits
from pyro_vae.inference import anomaly_scores

QUICK = ("--limit", 60, "--num-particles", 2)


def table(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_all_data_are_ranked_the_strangest_first(trained, tmp_path):
    code, out, err = trained("anomalies", "a", *QUICK)
    assert code == 0, err
    rows = table(tmp_path / "a" / "anomalies.csv")
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and len(rows) == 60
    assert {int(row["index"]) for row in rows} == {*range(60)}
    labels = digits().test.y
    assert all(int(row["label"]) == labels[int(row["index"])] for row in rows)
    assert (tmp_path / "a" / "anomalies.png").stat().st_size > 1000


def test_the_scores_are_those_of_the_function(trained, tmp_path):
    trained("anomalies", "a", "--limit", 20, "--num-particles", 300, "--out", "found.csv")
    rows = {int(row["index"]): float(row["score"]) for row in table(tmp_path / "found.csv")}
    expected = anomaly_scores(load("a"), digits().test.x[:20], num_particles=300)
    assert max(abs(rows[i] - expected[i].item()) for i in range(20)) < 1  # of other draws


def test_about_the_share_of_the_quantile_is_above_the_threshold(trained):
    code, out, _ = trained(
        "anomalies", "a", "--kind", "bound", "--num-particles", 2, "--quantile", 0.5
    )
    share = float(out.split("above it, ")[1].split("%")[0])
    assert code == 0 and 40 < share < 60  # of 300 data: three errors are 9
    assert "the 0.5 quantile of bound of 200 validation data" in out


def test_labels_that_are_anomalous_give_a_curve(trained, tmp_path):
    words = ("anomalies", "a", *QUICK, "--anomalous", 1, "--anomalous", 7)
    code, out, err = trained(*words)
    count = int(np.isin(digits().test.y[:60], (1, 7)).sum())
    assert code == 0 and f"of {count} anomalies among 60 data" in out, err
    assert "AUROC" in out and (tmp_path / "a" / "roc.png").stat().st_size > 1000


def test_other_data_are_held_against_the_validation_data_of_the_run(trained):
    code, out, _ = trained(
        *("anomalies", "a", "--data", "only_labels(digits(), 3)", *QUICK, "--kind", "typicality")
    )
    assert code == 0 and "of typicality of 60 validation data" in out


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--kind", "elbo"), "kind must be one of 'log_likelihood'"),
        (("--quantile", 95), "--quantile is 95, but must be between 0 and 1, such as 0.95"),
        (("--anomalous", 12), "digits has no label '12'; its labels are 0, 1, 2"),
        (("--anomalous", 3, "--data", "only_labels(digits(), 3)"), "is an anomaly, but a ROC"),
        (("--anomalous", 3, "--data", "arrays('x.npy')"), "x has no labels, so that none of its"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(trained, tmp_path, words, sentence):
    np.save(tmp_path / "x.npy", (np.random.rand(60, 1, 8, 8) > 0.5).astype(np.float32))
    code, _, err = trained("anomalies", "a", *QUICK, *words)
    assert code == 2 and sentence in err and err.count("\n") == 1
