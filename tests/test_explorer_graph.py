"""Functions of programs as instructions: what they give, what is folded, and what is refused."""

import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.app.explorer import export as exporting
from pyro_vae.app.explorer.functions import Example, decode, encode, log_joint
from pyro_vae.app.explorer.graph import Weights, traced
from pyro_vae.likelihoods import PixelCNNLikelihood
from pyro_vae.models import (
    VAE,
    Autoencoder,
    ConditionalVAE,
    GaussianMixtureVAE,
    HierarchicalVAE,
    LinearGaussian,
)
from pyro_vae.posteriors import InverseAutoregressiveFlow
from pyro_vae.priors import GaussianMixture

X = torch.rand(1, 1, 8, 8).round()


def graph_of(function, **inputs):
    return traced(lambda **given: (function(**given),), inputs, ("out",))


class Sorting(nn.Module):
    def forward(self, x):
        return x.sort(-1).values


def test_an_operation_that_is_not_known_is_named_with_the_module_that_made_it():
    with pytest.raises(
        ValueError, match=r"operation sort.* of Sorting is not known.*--format onnx"
    ):
        graph_of(Sorting(), x=torch.rand(1, 4))


def test_an_operation_that_no_output_needs_is_not_refused():
    def function(x):
        x.sort(-1)
        return 2 * x

    assert len(graph_of(function, x=torch.rand(1, 4)).instructions) == 1


def test_a_branch_on_the_numbers_of_an_input_is_refused():
    with pytest.raises(ValueError, match="this cannot be exported"):
        graph_of(lambda x: x if x.sum() > 0 else -x, x=torch.rand(1, 4))


def test_a_function_of_what_changes_behind_its_back_is_refused():
    calls = []

    def counting(x):
        calls.append(1)
        return x * len(calls)

    with pytest.raises(ValueError, match=r"the export of out is off by"):
        graph_of(counting, x=torch.ones(1, 4))


def test_random_draws_are_refused():
    with pytest.raises(ValueError, match=r"operation \w+\.\w+ draws random numbers"):
        graph_of(lambda x: x + torch.randn_like(x), x=torch.rand(1, 4))


def test_weights_that_are_not_finite_are_refused():
    linear = nn.Linear(4, 3)
    linear.weight.data[0, 1] = math.nan
    with pytest.raises(ValueError, match="1 of 12 weights of shape .* are not finite"):
        graph_of(lambda x: linear(x), x=torch.rand(1, 4))


def test_batch_statistics_are_folded_to_a_factor_and_a_shift():
    norm = nn.BatchNorm1d(4).eval()
    found = [step.op for step in graph_of(lambda x: norm(x), x=torch.rand(1, 4)).instructions]
    assert "map" not in found and len(found) <= 4  # no root of a variance is left


def test_weights_that_two_graphs_share_are_stored_once():
    program, weights = VAE((1, 8, 8), 2, hidden=(30,)), Weights()
    for make in (decode, log_joint):
        make(program, Example(X)).traced().description(weights)
    decoder = sum(p.numel() for p in program.decoder.parameters())
    assert len(weights.content) < 4 * decoder + 1000


def test_weights_of_three_bytes_take_less_and_are_off_by_their_last_bit():
    matrix = torch.randn(200, 50)
    whole, short = Weights(), Weights(bits=24)
    whole.add(matrix), short.add(matrix)
    assert len(short.packed) < 0.8 * len(whole.packed)
    rows = torch.frombuffer(bytearray(short.content), dtype=torch.uint8).view(3, -1).long()
    bits = (rows[0] << 24) | (rows[1] << 16) | (rows[2] << 8)
    found = bits.to(torch.uint32).view(torch.float32).view_as(matrix)
    assert ((found - matrix).abs() / matrix.abs()).amax() <= 2**-16


def test_weights_come_in_32_or_24_bits():
    with pytest.raises(ValueError, match="32 or 24 bits, but bits is 16"):
        Weights(bits=16)


def test_a_description_is_json():
    graph = decode(VAE((1, 8, 8), 2), Example(X)).traced()
    description = json.loads(json.dumps(graph.description(Weights()), allow_nan=False))
    assert description["inputs"].keys() == {"z"} and description["outputs"].keys() == {"picture"}


def test_decoding_gives_the_mean_of_the_likelihood():
    program, z = VAE((1, 8, 8), 2), torch.randn(1, 2)
    found = decode(program, Example(X)).traced().run({"z": z})["picture"]
    assert torch.allclose(found, program.decoder(z).sigmoid(), atol=1e-6)


def test_decoding_sees_the_label():
    program, z = ConditionalVAE((1, 8, 8), 2), torch.randn(1, 2)
    graph = decode(program, Example(X, torch.tensor([1]))).traced()
    for label in range(10):
        found = graph.run({"z": z, "y": torch.tensor([float(label)])})["picture"]
        expected = program.decoder(z, torch.eye(10)[label : label + 1]).sigmoid()
        assert torch.allclose(found, expected, atol=1e-6)


def test_a_lower_layer_is_drawn_from_its_noise_at_a_temperature():
    program, top, noise = HierarchicalVAE((1, 8, 8), (3, 2)), torch.randn(1, 2), torch.randn(1, 3)
    graph = decode(program, Example(X)).traced()
    given = {"z_2": top, "noise_z_1": noise, "temperature_z_1": torch.tensor([0.5])}
    p = program.conditionals[0](program.decoders[1](top))
    found = graph.run(given)
    assert torch.allclose(found["z_1"], p.mean + 0.5 * p.stddev * noise, atol=1e-6)
    expected = program.likelihood(program.decoders[0](found["z_1"])).mean
    assert torch.allclose(found["picture"], expected, atol=1e-6)


def test_a_lower_layer_is_kept_where_it_is_asked_for_and_tells_its_noise():
    program, top, z_1 = HierarchicalVAE((1, 8, 8), (3, 2)), torch.randn(1, 2), torch.randn(1, 3)
    graph = decode(program, Example(X)).traced()
    found = graph.run({"z_2": top, "z_1": z_1, "keep_z_1": torch.ones(1)})
    assert torch.equal(found["z_1"], z_1)
    p = program.conditionals[0](program.decoders[1](top))
    assert torch.allclose(found["noise_z_1"], (z_1 - p.mean) / p.stddev, atol=1e-5)


def test_a_lower_layer_that_is_left_out_has_its_mean():
    program, top = HierarchicalVAE((1, 8, 8), (3, 2)), torch.randn(1, 2)
    found = decode(program, Example(X)).traced().run({"z_2": top})
    p = program.conditionals[0](program.decoders[1](top))
    assert torch.allclose(found["z_1"], p.mean, atol=1e-6)


def test_encoding_gives_mean_deviation_and_a_draw():
    program, noise = VAE((1, 8, 8), 2), torch.randn(1, 2)
    found = encode(program, Example(X)).traced().run({"x": X, "noise_z": noise})
    q = program.posterior(program.encoder(X))
    assert torch.allclose(found["mean_z"], q.mean, atol=1e-6)
    assert torch.allclose(found["sd_z"], q.stddev, atol=1e-6)
    assert torch.allclose(found["z"], q.mean + q.stddev * noise, atol=1e-6)


def test_a_flow_has_a_draw_alone():
    program = VAE((1, 8, 8), 2, posterior=InverseAutoregressiveFlow(2))
    assert encode(program, Example(X)).outputs == ("z",)


def test_a_discrete_latent_is_the_most_probable_one():
    program = GaussianMixtureVAE((1, 8, 8), 2, num_components=3)
    found = encode(program, Example(X)).traced().run({"x": X})
    expected = program.cluster_given(program.encoder(X)[:, 0]).probs.argmax(-1)
    assert found["y"].argmax(-1) == expected and found["y"].sum() == 1


@pytest.mark.parametrize("prior", [None, GaussianMixture(2, components=3)])
def test_the_density_is_that_of_the_prior_and_the_likelihood(prior):
    program, z = VAE((1, 8, 8), 2, prior=prior), torch.randn(1, 2)
    found = log_joint(program, Example(X)).traced().run({"x": X, "z": z})
    log_pz, log_px = program.prior().log_prob(z), program.likelihood(program.decoder(z)).log_prob(X)
    assert torch.allclose(found["log_pz"], log_pz.sum(), atol=1e-4)
    assert torch.allclose(found["log_p"], (log_pz + log_px).sum(), atol=1e-4)


def test_the_density_on_a_grid_sums_to_the_evidence():
    program = LinearGaussian((1, 2, 2), 2)
    x = torch.randn(1, 1, 2, 2)
    graph = log_joint(program, Example(x)).traced()
    sides = torch.linspace(-5, 5, 41)
    grid = torch.cartesian_prod(sides, sides)
    log_p = torch.stack([graph.run({"x": x, "z": z[None]})["log_p"] for z in grid]).double()
    area = float(sides[1] - sides[0]) ** 2
    evidence = program.log_evidence(x).item()
    assert math.isclose(float(log_p.logsumexp(0)) + math.log(area), evidence, abs_tol=1e-3)


def test_an_autoencoder_is_decoded_though_its_prior_draws_nothing():
    program = Autoencoder((1, 8, 8), 2)
    z = torch.randn(1, 2)
    found = decode(program, Example(X)).traced().run({"z": z})["picture"]
    assert torch.allclose(found, program.likelihood(program.decoder(z)).mean, atol=1e-6)


def test_weights_of_a_program_that_are_latents_themselves_are_at_their_means():
    net = nn.Linear(2, 3)

    class Program(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.up = net, nn.Linear(3, 2)

        def model(self, x):
            shift = pyro.sample("shift", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.net(z) + shift, 1.0).to_event(1), obs=x)

        def guide(self, x):
            pyro.sample("shift", dist.Normal(torch.full((3,), 4.0), 0.1).to_event(1))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.up(x), 1.0).to_event(1))

    z = torch.randn(1, 2)
    found = decode(Program(), Example(torch.rand(1, 3))).traced().run({"z": z})
    assert torch.allclose(found["picture"], net(z) + 4, atol=1e-6)


def test_a_decoder_that_draws_pixel_after_pixel_is_refused():
    program = VAE((1, 4, 4), 2, likelihood=PixelCNNLikelihood((1, 4, 4)))
    with pytest.raises(ValueError, match="draws each number of x given those before it"):
        decode(program, Example(torch.rand(1, 1, 4, 4).round()))


def test_the_command_writes_javascript(trained, tmp_path):
    code, out, err = trained("export", "a", "--out", "page")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "page").iterdir()} == {
        *("network.json", "weights.bin", "engine.js", "index.html"),
    }
    network = json.loads((tmp_path / "page" / "network.json").read_text())
    assert network.keys() == {"decode", "encode", "log_joint"}


@pytest.mark.filterwarnings("ignore")  # torch's exporter warns of itself
def test_the_command_writes_onnx_that_onnxruntime_runs(trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    code, out, err = trained("export", "a", "--format", "onnx", "--out", "made")
    assert code == 0, err
    session = onnxruntime.InferenceSession(tmp_path / "made" / "decode.onnx")
    (picture,) = session.run(None, {"z": torch.zeros(1, 2).numpy()})
    assert picture.shape == (1, 1, 8, 8)


def test_onnx_without_its_extra_is_one_sentence(trained, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    code, _, err = trained("export", "a", "--format", "onnx")
    assert code == 2 and "pip install 'pyro-vae[onnx]'" in err
