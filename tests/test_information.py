"""Mutual information and the marginal KL, against closed forms."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.batches import Batches
from pyro_vae.datasets import Split
from pyro_vae.inference import evaluate, mutual_information
from pyro_vae.inference.evaluation import evaluate_batches
from pyro_vae.models import VAE, Autoencoder, HierarchicalVAE, LadderVAE, LinearGaussian
from pyro_vae.posteriors import FullNormal, InverseAutoregressiveFlow, OneHot
from pyro_vae.priors import UniformOneHot


def linear_gaussian(full_covariance=False):
    """A program at its optimum, and data of it, so that q(z | x) = p(z | x) and q(z) = p(z)."""
    torch.manual_seed(0)
    program = LinearGaussian((5,), 2, full_covariance=full_covariance).double()
    with torch.no_grad():
        program.W.copy_(torch.tensor([[2.0, 0], [1, 0], [0, 1], [0, -1], [0, 0.5]]))
    program.optimize_guide()
    z = torch.randn(20_000, 2, dtype=torch.float64)
    noise = torch.randn(20_000, 5, dtype=torch.float64)
    return program, z @ program.W.detach().mT + noise


@pytest.mark.parametrize("full_covariance", [False, True])
def test_it_is_that_of_a_linear_gaussian_program_in_closed_form(full_covariance):
    program, x = linear_gaussian(full_covariance)
    found = mutual_information(program, x, num_data=4_000, num_draws=4_000)["z"]
    # I(x; z) = 1/2 log det(I + W^T W / sigma^2), whose columns are orthogonal here
    exact = (math.log(1 + 5) + math.log(1 + 2.25)) / 2
    assert found.mutual_information == pytest.approx(exact, abs=4 * found.error + 2e-3)
    assert found.error < 0.02
    assert found.marginal_kl == pytest.approx(0, abs=0.01)  # q(z) = p(z), of 4,000 data
    assert found.cap == math.log(4_000) and len(found.told) == 4_000


class Separated(nn.Module):
    """q(z | x) is so narrow that no two data share a z; the model does not matter."""

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale), requires_grad=False)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, self.scale).to_event(1))


def test_posteriors_that_do_not_overlap_tell_the_logarithm_of_the_number_of_data():
    x = torch.linspace(-3, 3, 400)[:, None]
    found = mutual_information(Separated(1e-4), x)["z"]
    assert found.mutual_information == pytest.approx(math.log(400), abs=1e-5)
    assert found.cap == math.log(400)


def test_posteriors_that_are_all_one_tell_nothing_and_the_rate_is_the_marginal_kl():
    program = Separated(0.5)
    found = mutual_information(program, torch.full((400, 1), 2.0))["z"]
    assert found.mutual_information == pytest.approx(0, abs=1e-5)
    exact = torch.distributions.kl_divergence(dist.Normal(2.0, 0.5), dist.Normal(0.0, 1.0)).item()
    error = found.marginal.std().item() / 20
    assert found.marginal_kl == pytest.approx(exact, abs=4 * error)


def test_no_estimate_is_above_its_cap():
    x = torch.randn(300, 1)
    found = mutual_information(Separated(0.1), x)["z"]
    assert (found.told <= found.cap).all()


def test_it_and_the_marginal_kl_are_the_rate():
    """As the same draws have it, by the definition of the three."""
    torch.manual_seed(0)
    program, x = VAE((6,), 3, hidden=(8,)).double(), torch.rand(500, 6).round().double()
    nn.init.normal_(program.encoder.layers[-1].weight)
    found = mutual_information(program, x)["z"]
    rate = evaluate(program, x, num_particles=50).rate
    both = found.told + found.marginal
    error = both.std().item() / math.sqrt(500)
    assert (found.mutual_information + found.marginal_kl) == pytest.approx(
        rate.mean().item(), abs=4 * error
    )


def test_a_minibatch_underestimates_what_many_data_tell():
    x = torch.randn(2_000, 1)
    few = mutual_information(Separated(1e-3), x, num_data=32)["z"]
    many = mutual_information(Separated(1e-3), x)["z"]
    exact = 0.5 * math.log1p(1e6)
    assert few.mutual_information <= few.cap < 3.5 < 6 < many.mutual_information < exact
    assert few.num_data <= 32


def test_data_are_taken_evenly_and_draws_from_some_of_them():
    seen = []

    class Watched(Separated):
        def guide(self, x):
            seen.append(x)
            super().guide(x)

    x = torch.arange(1000.0)[:, None]
    found = mutual_information(Watched(1.0), x, num_data=250, num_draws=50, batch_size=98)["z"]
    taken = torch.cat(seen[-11:])  # of the last pass, in eleven batches
    assert torch.equal(taken, x[::4]) and found.num_data == 250 and len(found.told) == 50


def test_a_correlated_posterior_or_a_flow_is_judged_by_its_own_density():
    """By a sum over all pairs of 200 draws for each datum."""
    x = torch.rand(30, 6).round()
    for posterior in (FullNormal(3), InverseAutoregressiveFlow(3)):
        torch.manual_seed(0)
        program = VAE((6,), 3, posterior=posterior, hidden=(8,))
        nn.init.normal_(program.encoder.layers[-1].weight)
        found = mutual_information(program, x)["z"]
        with torch.no_grad():
            q = program.posterior.eval()(program.encoder(x))
            z = q.sample((200,))  # (200, 30, 3)
            pairs = torch.stack([q.log_prob(z[:, [n]].expand(200, 30, 3)) for n in range(30)])
            own = pairs.diagonal(dim1=0, dim2=2).T  # (30, 200)
            exact = (own - pairs.logsumexp(-1) + math.log(30)).mean().item()
        assert found.mutual_information == pytest.approx(exact, abs=4 * found.error)
        assert 0.5 < exact < math.log(30) and found.error < 0.3


def test_of_classes_it_is_the_entropy_of_the_average_less_the_average_entropy():
    torch.manual_seed(0)
    program = VAE((6,), 4, prior=UniformOneHot(4), posterior=OneHot(4), hidden=(8,))
    nn.init.normal_(program.encoder.layers[-1].weight)
    x = torch.rand(2_000, 6).round()
    found = mutual_information(program, x, num_draws=2_000)["z"]
    with torch.no_grad():
        shares = program.encoder(x).softmax(-1)
    exact = torch.special.entr(shares.mean(0)).sum() - torch.special.entr(shares).sum(-1).mean()
    assert found.mutual_information == pytest.approx(exact.item(), abs=4 * found.error)
    marginal = math.log(4) - torch.special.entr(shares.mean(0)).sum().item()
    assert found.marginal_kl == pytest.approx(marginal, abs=0.03)


def test_of_a_hierarchy_it_is_that_of_the_latent_which_the_guide_draws_first():
    x = torch.rand(50, 1, 4, 4).round()
    up = mutual_information(HierarchicalVAE((1, 4, 4), (3, 2), hidden=(8,)), x)
    assert list(up) == ["z_1"] and up["z_1"].marginal_kl is None  # p(z_1 | z_2) is no one prior
    down = mutual_information(LadderVAE((1, 4, 4), (3, 2), hidden=(8,)), x)
    assert list(down) == ["z_2"] and down["z_2"].marginal_kl is not None


def test_a_point_has_none_and_neither_has_a_single_datum():
    x = torch.rand(50, 1, 4, 4)
    assert mutual_information(Autoencoder((1, 4, 4), 2), x) == {}
    assert mutual_information(VAE((1, 4, 4), 2), x[:1].round()) == {}


def test_labels_go_with_their_data():
    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(y.float(), 1.0))
            pyro.sample("x", dist.Normal(z[:, None], 1.0).to_event(1), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] + y, 0.1))

    program = SimpleNamespace(model=model, guide=guide)
    data = Split(torch.randn(30, 1), torch.arange(30) // 10)
    found = mutual_information(program, data, num_data=10)["z"]
    assert found.num_data == 10 and found.marginal_kl is None  # p(z | y) is no one prior
    single = mutual_information(program, data, num_data=10, batch_size=3)["z"]
    assert single.num_data == 10 and single.marginal_kl is None


def test_an_evaluation_has_it_and_draws_no_more_random_numbers_for_it():
    program, x = VAE((1, 4, 4), 2, hidden=(8,)), torch.rand(50, 1, 4, 4).round()
    torch.manual_seed(1)
    found = evaluate(program, x)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    evaluate_batches(program, Batches.of(program, x, batch_size=500))
    assert torch.equal(state, torch.get_rng_state())
    assert found.information["z"].num_data == 50
    assert str(found.information["z"]).startswith("mutual information ")


def test_the_command_line_prints_it_with_its_cap_and_writes_it_down(run):
    words = ["train", "VAE(latent_dim=2, hidden=(8,))", "--epochs", 1, "--out", "r"]
    code, out = run(*words)[:2]
    assert code == 0
    said = out.split("z: mutual information ")[1].splitlines()[0]
    assert "of at most 5.70 nats, the logarithm of 300 data; KL(q(z) || p(z)) " in said
    site = json.loads(Path("r/results.json").read_text())["sites"]["z"]
    assert site["cap"] == pytest.approx(math.log(300))
    assert said.startswith(f"{site['mutual_information']:.2f} ")
