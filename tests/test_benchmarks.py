"""The benchmark computes what it says; how long that takes is not tested."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import run

import pyro
import pytest
import torch
from torch import nn

from pyro_vae.inference import IWAE
from pyro_vae.models import VAE
from tests.benchmarks.peers import PEERS, by_hand, numpyro
from tests.benchmarks.programs import CASES, Case, groups, seeded
from tests.benchmarks.step_time import (
    check_one_bound,
    check_one_training,
    draws,
    flops,
    measure,
    quartiles,
)
from tests.benchmarks.tables import between_marks, mark, report, step_times

ROOT = Path(__file__).parent.parent
RECORDED = sorted((ROOT / "tests" / "benchmarks").glob("results*.json"))
TINY = partial(groups, 2, 4)
UNCOMPILED = ("pyro.infer.SVI", "PyTorch by hand", "ours, eager", "ours, captured")


@pytest.fixture(autouse=True)
def unvalidated():
    with pyro.validation_enabled(False):
        yield


def tiny_iwae():
    vae = VAE((1, 3, 4), latent_dim=2, hidden=(5, 6), activation=nn.Tanh)
    x = (torch.rand(2, 7, 1, 3, 4) < 0.5).float()
    return Case("a tiny IWAE", vae, x, IWAE(3), by_hand=lambda x: torch.zeros(()))


def test_the_tables_have_a_row_for_each_peer():
    result = measure(TINY, {name: PEERS[name] for name in UNCOMPILED}, repeats=1)
    text = report({"machine": {"cores": 2}, "steps": {"c": result}})
    assert json.loads(json.dumps(result)) == result
    for name in UNCOMPILED:
        found = result["peers"][name]
        low, high = found["quartiles"]
        assert 0 < low <= found["ms"] <= high
        assert f"| {name} | {found['ms']:.2f} |" in text


def test_a_peer_with_another_bound_is_refused():
    def doubled(case):
        peer = by_hand(case)
        return type(peer)(peer.epoch, lambda: 2 * peer.loss())

    with pytest.raises(ValueError, match="doubled computes another bound than by hand"):
        measure(TINY, {"by hand": by_hand, "doubled": doubled}, repeats=1)


def test_a_peer_that_does_not_train_is_refused():
    still = {"by hand": torch.tensor([100.0, 101.0, 99.0]), "still": torch.full((3,), 100.0)}
    after = still | {"by hand": still["by hand"] - 50}
    check_one_training(still, after | {"still": still["still"] - 50})
    with pytest.raises(ValueError, match="still does not train as by hand does"):
        check_one_training(still, after)


@pytest.mark.parametrize("make", [tiny_iwae, TINY], ids=["IWAE", "groups"])
def test_numpyro_computes_the_bound_of_the_program_and_trains_alike(make):
    pytest.importorskip("numpyro")
    builds = {"ours": PEERS["ours, eager"], "NumPyro": partial(numpyro, scan=True)}
    peers = {name: build(seeded(make)) for name, build in builds.items()}
    before = draws(peers)
    check_one_bound(before)
    for peer in peers.values():
        peer.epoch()
    check_one_training(before, draws(peers))


def test_the_adversary_by_hand_takes_the_same_steps():
    after = []
    for name in ("PyTorch by hand", "ours, eager"):
        pyro.clear_param_store()
        case = seeded(CASES["h"])
        torch.manual_seed(1)
        PEERS[name](replace(case, x=case.x[:2, :8])).epoch()
        after.append(case.parameters())
    torch.testing.assert_close(*after, rtol=0, atol=1e-5)


def test_flops_of_the_mlp_are_six_for_each_weight_and_datum():
    weights = 2 * 784 * 400 + 400 * 40 + 20 * 400
    assert flops(CASES["a"]()) == 6 * 128 * weights


def test_quartiles_of_five_are_the_inner_three():
    assert quartiles([5.0, 1.0, 4.0, 2.0, 3.0]) == [2.0, 3.0, 4.0]


def test_the_table_goes_between_the_marks():
    avx2, avx512 = mark("AVX2"), mark("AVX512")
    text = f"before\n{avx512}\nold\n{avx512}\nbetween\n{avx2}\n{avx2}\nafter"
    text = between_marks(text, "new", avx512)
    assert text == f"before\n{avx512}\n\nnew\n\n{avx512}\nbetween\n{avx2}\n{avx2}\nafter"


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.name)
def test_the_page_shows_the_recorded_run(recorded):
    run = json.loads(recorded.read_text())
    marked = mark(run["machine"]["instructions"])
    page = (ROOT / "docs" / "speed.md").read_text()
    assert page.split(marked)[1].strip() == step_times(run["steps"])


def _has_failing_cpuid():
    info = Path("/proc/cpuinfo")
    return info.exists() and {"cpuid_fault", "avx512f"} <= {*info.read_text().split()}


@pytest.mark.skipif(not _has_failing_cpuid(), reason="has no AVX-512, or cpuid can't fail")
def test_a_command_runs_as_on_a_processor_of_avx2_alone():
    """Itself, and a compiler that it starts, which would have a handler of faults of its own."""
    code = """
import subprocess, torch
print(torch.backends.cpu.get_cpu_capability())
flags = ["-march=native", "-dM", "-E", "-x", "c", "/dev/null"]
macros = subprocess.run(["cc", *flags], capture_output=True, text=True, check=True).stdout
print("__AVX2__ 1" in macros, "__AVX512F__" in macros, "__AMX" in macros)
raise SystemExit(7)
"""
    words = [sys.executable, "-m", "tests.benchmarks.avx2", sys.executable, "-c", code]
    done = run(words, capture_output=True, text=True, cwd=ROOT)
    if "can't have cpuid fail" in done.stderr:  # in a container that forbids it
        pytest.skip(done.stderr)
    assert (done.stdout.split(), done.returncode) == (["AVX2", "True", "False", "False"], 7)
