"""Stable Diffusion's autoencoder against diffusers' own: sizes, outputs, loss, and its weights."""

import math
import re
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pyro_vae import check, load
from pyro_vae.datasets import Split
from pyro_vae.distributions import EstimatedDensity, is_estimated
from pyro_vae.extras import import_diffusers
from pyro_vae.inference import Trace_ELBO, TraceMeanField_ELBO, encode, evaluate, fit, sample
from pyro_vae.models import VAE, KLAutoencoder, Refit
from pyro_vae.networks import ConvEncoder, KLDecoder, KLEncoder, PerceptualDistance, TimeMLP
from pyro_vae.priors import DiffusionPrior, GaussianMixture, Rescaled, StandardNormal

from .twins import captured_like_eager

X_SHAPE, SMALL = (3, 8, 8), {"channels": (4, 8), "blocks": 1}
SD3 = {"latent_channels": 16, "quant_conv": False, "scaling_factor": 1.5305, "shift_factor": 0.0609}


def program_of(**options):
    torch.manual_seed(0)
    return KLAutoencoder(X_SHAPE, **SMALL, **options)


def images(n=5):
    return torch.rand(n, *X_SHAPE, generator=torch.Generator().manual_seed(1))


def original(latent_channels=4, quant_conv=True, channels=(4, 8), blocks=1, x_channels=3):
    """The AutoencoderKL of diffusers, with weights of its own, of which no bias is 0."""
    torch.manual_seed(2)
    vae = import_diffusers().AutoencoderKL(
        x_channels,
        x_channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=blocks,
        latent_channels=latent_channels,
        norm_num_groups=1,
        use_quant_conv=quant_conv,
        use_post_quant_conv=quant_conv,
    )
    for parameter in vae.parameters():
        nn.init.normal_(parameter, std=0.3)
    return vae.eval()


def size_of(program):
    return sum(parameter.numel() for parameter in program.parameters())


# LDM's names by those of diffusers, for two sizes of the image.
TO_LDM = {
    r"^encoder\.down_blocks\.(\d)\.resnets": r"encoder.down.\1.block",
    r"^encoder\.down_blocks\.(\d)\.downsamplers\.0": r"encoder.down.\1.downsample",
    r"^decoder\.up_blocks\.0\.resnets": "decoder.up.1.block",
    r"^decoder\.up_blocks\.1\.resnets": "decoder.up.0.block",
    r"^decoder\.up_blocks\.0\.upsamplers\.0": "decoder.up.1.upsample",
    r"mid_block\.resnets\.0": "mid.block_1",
    r"mid_block\.resnets\.1": "mid.block_2",
    r"mid_block\.attentions\.0\.group_norm": "mid.attn_1.norm",
    r"mid_block\.attentions\.0\.to_([qkv])": r"mid.attn_1.\1",
    r"mid_block\.attentions\.0\.to_out\.0": "mid.attn_1.proj_out",
    "conv_shortcut": "nin_shortcut",
    "conv_norm_out": "norm_out",
}
OLD_ATTENTION = {
    r"to_q\.": "query.",
    r"to_k\.": "key.",
    r"to_v\.": "value.",
    r"to_out\.0\.": "proj_attn.",
}


def renamed(weights, table):
    found = {}
    for name, weight in weights.items():
        for pattern, new in table.items():
            name = re.sub(pattern, new, name)
        is_attention = "attn_1" in name and weight.dim() == 2
        found[name] = weight[:, :, None, None] if is_attention else weight
    return found


def assert_like(program, vae, s=1.0, m=0.0):
    """Encoder and decoder are those of diffusers, on images from -1 to 1 and latents s (z - m)."""
    x = images()
    with torch.no_grad():
        q = program.posterior(program.encoder(x)).base_dist
        expected = vae.encode(2 * x - 1).latent_dist
        torch.testing.assert_close(q.loc, s * (expected.mean - m), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(q.scale, s * expected.std, atol=1e-5, rtol=1e-5)
        z = torch.randn(5, *q.loc.shape[1:])
        decoded = (vae.decode(z / s + m).sample + 1) / 2
        torch.testing.assert_close(program.decoder(z), decoded, atol=1e-5, rtol=1e-5)


class TestSizes:
    @pytest.mark.parametrize(
        "build, parameters, latent",
        [
            (KLAutoencoder.stable_diffusion_1, 83_653_863, (4, 64, 64)),
            (KLAutoencoder.stable_diffusion_3, 83_819_683, (16, 64, 64)),
            (lambda: KLAutoencoder((3, 32, 32)), 954_567, (4, 8, 8)),
            (lambda: KLAutoencoder((3, 32, 32), channels=(32, 64, 128)), 2_702_087, (4, 8, 8)),
            (lambda: KLAutoencoder((1, 28, 28), channels=(16, 32)), 167_381, (4, 14, 14)),
        ],
    )
    def test_it_has_as_many_parameters_as_its_namesake(self, build, parameters, latent):
        with torch.device("meta"):
            program = build()
        assert size_of(program) == parameters
        assert program.prior.latent_dim == latent

    def test_stable_diffusion_is_as_large_as_that_of_diffusers(self):
        names = ("DownEncoderBlock2D", "UpDecoderBlock2D")
        down, up = ((name,) * 4 for name in names)
        with torch.device("meta"):
            vae = import_diffusers().AutoencoderKL(
                down_block_types=down,
                up_block_types=up,
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
            )
            program = KLAutoencoder.stable_diffusion_1()
        assert size_of(program) == size_of(vae)
        assert program.encoder.layers.encoder.conv_norm_out.num_groups == 32

    @pytest.mark.parametrize(
        "channels, groups", [((32, 64, 64), 8), ((16, 32), 4), ((18, 36), 3), ((3, 5), 1)]
    )
    def test_the_groups_divide_the_channels_and_have_four_where_they_can(self, channels, groups):
        side = 2 ** (4 - len(channels))
        encoder = KLEncoder((1, 8, 8), (2, 4, side, side), channels=channels)
        assert encoder.layers.encoder.conv_norm_out.num_groups == groups


class TestDensity:
    def test_the_likelihood_is_laplace_of_scale_1_between_black_and_white(self):
        program, x = program_of(), images()
        h = program.decoder(torch.randn(5, 4, 4, 4))
        found = program.likelihood(h).log_prob(x)
        between = dist.Laplace(2 * h - 1, 1.0).log_prob(2 * x - 1).sum((1, 2, 3))
        # x is half as wide as between -1 and 1, so that its density is twice as high
        torch.testing.assert_close(found, between + math.prod(X_SHAPE) * math.log(2))

    def test_its_density_is_nowhere_above_the_uniform_one(self):
        program, x = program_of(), images()
        assert program.likelihood(x).log_prob(x).abs().max() < 1e-3

    def test_the_loss_is_that_of_the_original_code(self):
        """sum |x - x'| + 1e-6 KL, with diffusers' own formula of the KL."""
        program, vae, x = program_of(groups=1), original(), images()
        program.encoder.layers.load_state_dict(
            {n: w for n, w in vae.state_dict().items() if n.startswith(("encoder", "quant"))}
        )
        program.decoder.layers.load_state_dict(
            {n: w for n, w in vae.state_dict().items() if n.startswith(("decoder", "post"))}
        )
        pyro.set_rng_seed(3)
        loss = TraceMeanField_ELBO(beta=1e-6).loss(program.model, program.guide, x)
        pyro.set_rng_seed(3)
        posterior = vae.encode(2 * x - 1).latent_dist
        z = posterior.mean + posterior.std * torch.randn(posterior.mean.shape)
        errors = (2 * x - 1 - vae.decode(z).sample).abs().sum()
        assert loss == pytest.approx((errors + 1e-6 * posterior.kl().sum()).item(), rel=1e-5)

    def test_the_scale_of_the_guide_is_cut_off(self):
        program = program_of()
        bias = program.encoder.layers.quant_conv.bias
        bias.data = torch.cat([torch.zeros(4), torch.tensor([100.0, 1e3, -100.0, -1e3])])
        scale = program.posterior(program.encoder(images())).base_dist.scale.log()
        expected = torch.tensor([10.0, 10.0, -15.0, -15.0]).view(4, 1, 1).expand_as(scale)
        torch.testing.assert_close(scale, expected)

    def test_a_scaling_factor_changes_the_unit_of_z_and_no_bound(self):
        """The prior of s (z - m) is that of z with d log s more in its log density."""
        s, m, x = 0.5, 0.3, images()
        scaled, plain = program_of(scaling_factor=s, shift_factor=m), program_of()
        plain.prior = Rescaled((4, 4, 4), loc=m, scale=1 / s)
        z = torch.randn(5, 4, 4, 4)
        log_p = scaled.prior().log_prob(s * (z - m)) + 4 * 4 * 4 * math.log(s)
        torch.testing.assert_close(plain.prior().log_prob(z), log_p)
        bounds = []
        for program in (scaled, plain):
            pyro.set_rng_seed(0)
            bounds.append(evaluate(program, x).bound)
        torch.testing.assert_close(*bounds)

    def test_images_of_other_levels_are_the_same_images(self):
        unit, signed, x = program_of(), program_of(levels=(-1.0, 1.0)), images()
        torch.testing.assert_close(signed.encoder(2 * x - 1), unit.encoder(x))
        z = torch.randn(5, 4, 4, 4)
        torch.testing.assert_close(signed.decoder(z), 2 * unit.decoder(z) - 1)
        assert signed.likelihood.log_scale == 0.0

    def test_a_learned_scale_starts_at_that_of_the_original(self):
        learned, fixed = program_of(scale=None).likelihood, program_of().likelihood
        assert learned.log_scale == fixed.log_scale and learned.log_scale.requires_grad


class Estimated(nn.Module):
    """A prior that is known by an estimate."""

    latent_dim = (2, 3, 3)

    def forward(self):
        class Chain(EstimatedDensity):
            support = dist.constraints.independent(dist.constraints.real, 3)

            def log_prob(self, z):
                return -z.square().sum((-3, -2, -1))

        return Chain(event_shape=torch.Size(self.latent_dim))


class TestRescaled:
    def test_its_density_is_that_of_the_transformed_variable(self):
        prior, z = GaussianMixture((2, 3, 3)), torch.randn(5, 2, 3, 3)
        rescaled = Rescaled((2, 3, 3), prior=prior)
        rescaled.loc.data, rescaled.log_scale.data = torch.randn(2, 1, 1), torch.randn(2, 1, 1)
        u = (z - rescaled.loc) / rescaled.log_scale.exp()
        expected = prior().log_prob(u) - 9 * rescaled.log_scale.sum()
        torch.testing.assert_close(rescaled().log_prob(z), expected)

    def test_of_the_standard_normal_it_is_a_normal(self):
        z = torch.randn(5, 2, 3, 3)
        expected = dist.Normal(1.5, 0.3).log_prob(z).sum((1, 2, 3))
        prior = Rescaled((2, 3, 3), loc=1.5, scale=0.3)
        torch.testing.assert_close(prior().log_prob(z), expected)
        draws = prior().sample((4000,))
        assert abs(draws.mean() - 1.5) < 0.01 and abs(draws.std() - 0.3) < 0.01

    def test_it_learns_where_the_latents_are(self):
        z = 3 + 0.5 * torch.randn(500, 2, 3, 3)
        prior = Rescaled((2, 3, 3))
        optim = torch.optim.Adam(prior.parameters(), lr=0.1)
        for _ in range(150):
            optim.zero_grad()
            (-prior().log_prob(z).mean()).backward()
            optim.step()
        assert (prior.loc - 3).abs().max() < 0.1
        assert (prior.log_scale.exp() - 0.5).abs().max() < 0.1

    def test_an_estimate_of_a_density_stays_one(self):
        p = Rescaled((2, 3, 3), prior=Estimated(), scale=2.0)()
        assert is_estimated(p) and is_estimated(p.expand([5]))
        z = torch.ones(1, 2, 3, 3)
        assert p.log_prob(z).item() == pytest.approx(-18 / 4 - 18 * math.log(2))

    def test_a_prior_of_another_size_is_refused(self):
        with pytest.raises(ValueError, match=r"\(4,\), but this Rescaled needs \(5,\)"):
            Rescaled(5, prior=StandardNormal(4))


class TestWeights:
    @pytest.mark.parametrize(
        "options", [{"scaling_factor": 0.18215}, SD3], ids=["as of SD 1", "as of SD 3"]
    )
    def test_those_that_diffusers_saved_give_the_same_outputs(self, tmp_path, options):
        vae = original(options.get("latent_channels", 4), options.get("quant_conv", True))
        vae.save_pretrained(tmp_path)
        program = program_of(groups=1, weights=tmp_path, **options)
        s, m = options["scaling_factor"], options.get("shift_factor", 0.0)
        assert_like(program, vae, s, m)

    def test_a_folder_of_a_whole_pipeline_has_them_below(self, tmp_path):
        vae = original()
        vae.save_pretrained(tmp_path / "vae")
        assert_like(program_of(groups=1, weights=tmp_path), vae)

    @pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
    def test_those_of_latent_diffusion_give_the_same_outputs(self, tmp_path, prefix):
        vae = original(blocks=2)
        weights = renamed(vae.state_dict(), TO_LDM)
        assert "decoder.up.1.upsample.conv.weight" in weights
        assert weights["encoder.mid.attn_1.q.weight"].shape == (8, 8, 1, 1)
        others = {
            "model.diffusion_model.out.weight": torch.zeros(3),
            f"{prefix}loss.x": torch.ones(1),
        }
        save_file({prefix + n: w for n, w in weights.items()} | others, tmp_path / "sd.safetensors")
        torch.manual_seed(0)
        program = KLAutoencoder(X_SHAPE, channels=(4, 8), blocks=2, groups=1)
        program.load_weights(tmp_path / "sd.safetensors")
        assert_like(program, vae)

    def test_attention_by_its_older_names_is_read(self, tmp_path):
        vae = original()
        save_file(renamed(vae.state_dict(), OLD_ATTENTION), tmp_path / "old.safetensors")
        assert_like(program_of(groups=1, weights=tmp_path / "old.safetensors"), vae)

    def test_half_precision_is_read_into_single(self, tmp_path):
        vae = original().half()
        vae.save_pretrained(tmp_path, variant="fp16")
        assert_like(program_of(groups=1, weights=tmp_path), vae.float())

    @pytest.mark.parametrize("suffix", [".ckpt", ".bin", ".pt"])
    def test_a_pickle_is_refused_and_not_read(self, tmp_path, suffix):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(b"no pickle at all")
        with pytest.raises(
            ValueError, match=rf"weights\{suffix} is a pickle .* \.safetensors file"
        ):
            program_of(weights=path)

    def test_a_folder_of_pickles_alone_is_refused(self, tmp_path):
        (tmp_path / "diffusion_pytorch_model.bin").touch()
        with pytest.raises(FileNotFoundError, match=r"has the pickle .*model\.bin, but expected"):
            program_of(weights=tmp_path)

    def test_a_pickle_by_another_name_is_refused(self, tmp_path):
        torch.save({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
        with pytest.raises(ValueError, match="x.safetensors is no safetensors file"):
            program_of(weights=tmp_path / "x.safetensors")

    @pytest.mark.parametrize(
        "options, found, own",
        [
            ({"channels": (8, 8)}, r"channels=\(4, 8\), blocks=1", r"channels=\(8, 8\), blocks=1"),
            ({"channels": (4, 8, 8)}, r"channels=\(4, 8\)", r"channels=\(4, 8, 8\)"),
            ({"blocks": 2}, "blocks=1, with", "blocks=2, with"),
            ({"latent_channels": 16}, "4 latent channels", "16 latent channels"),
            ({"quant_conv": False}, "with quant_conv", "without quant_conv"),
        ],
    )
    def test_those_of_another_size_are_refused_with_both(self, tmp_path, options, found, own):
        original().save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=f"{found}.*but this autoencoder is of .*{own}"):
            KLAutoencoder(X_SHAPE, **SMALL | options, weights=tmp_path)

    def test_one_tensor_of_another_shape_is_named(self, tmp_path):
        weights = original().state_dict()
        weights["decoder.conv_out.bias"] = torch.zeros(4)
        save_file(weights, tmp_path / "x.safetensors")
        with pytest.raises(ValueError, match=r"decoder.conv_out.bias: \(4,\) there, \(3,\) here"):
            program_of(weights=tmp_path / "x.safetensors")

    def test_weights_of_something_else_are_refused(self, tmp_path):
        save_file({"layer.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
        with pytest.raises(ValueError, match=r"1 tensors \(layer.weight.*encoder.conv_in.weight"):
            program_of(weights=tmp_path / "x.safetensors")

    def test_a_run_is_opened_and_resumed_without_the_file_it_began_with(self, run, tmp_path):
        file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
        original(x_channels=1).save_pretrained(file.parent)
        first = "KLAutoencoder(channels=(4, 8), groups=1, weights='vae')"
        second = f"Refit({first}, prior=GaussianMixture((4, 4, 4)))"
        assert run("train", second, "--steps", 1, "--out", "second")[::2] == (0, "")
        weights = load_file(file)
        file.unlink()
        program = load("second").program
        assert torch.equal(
            program.encoder.layers.encoder.conv_in.weight, weights["encoder.conv_in.weight"]
        )
        assert run("train", "--resume", "second", "--steps", 2)[::2] == (0, "")

    def test_a_file_that_is_not_there_is_said(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no file or folder"):
            program_of(weights=tmp_path / "x.safetensors")


class Pixels(nn.Module):
    """A network whose features are the image's own channels."""

    in_shape = X_SHAPE

    def forward(self, x):
        return x


class Squared(nn.Module):
    """A distance with a parameter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, x, y):
        return self.weight * (x - y).square().mean((1, 2, 3), keepdim=True)


class TestPerceptual:
    def test_the_distance_is_that_of_unit_vectors_over_the_channels(self):
        distance, (x, y) = PerceptualDistance(Pixels(), layers=[""]), images(2)
        cosine = nn.functional.cosine_similarity(x, y, dim=0)  # |a - b|^2 = 2 - 2 cos(a, b)
        torch.testing.assert_close(distance(x, y), (2 - 2 * cosine).mean())

    def test_the_layers_of_a_classifier_add_up(self):
        network = ConvEncoder(X_SHAPE, (10,), channels=(4, 8), batch_norm=False)
        x, y = images(2)[:1], images(2)[1:]
        single = [PerceptualDistance(network, layers=[n])(x, y) for n in ("layers.1", "layers.3")]
        torch.testing.assert_close(PerceptualDistance(network)(x, y), single[0] + single[1])

    def test_an_image_is_at_distance_0_from_itself(self):
        distance = PerceptualDistance(ConvEncoder(X_SHAPE, (10,), channels=(4, 8)).eval())
        assert distance(images(), images()).abs().max() == 0

    def test_black_images_have_a_gradient(self):
        distance, x = PerceptualDistance(Pixels(), layers=[""]), torch.zeros(1, *X_SHAPE)
        x.requires_grad_()
        distance(x, images(1)).sum().backward()
        assert x.grad.isfinite().all()

    def test_a_layer_that_is_not_there_is_refused(self):
        with pytest.raises(
            ValueError, match="no layer 'layers.9'; its layers are layers, layers.0"
        ):
            PerceptualDistance(ConvEncoder(X_SHAPE, (10,), channels=(4, 8)), layers=["layers.9"])

    def test_a_network_that_says_no_in_shape_is_refused(self):
        with pytest.raises(TypeError, match="is a Conv2d, whose in_shape is None"):
            PerceptualDistance(nn.Conv2d(3, 4, 3))

    def test_it_is_weighed_by_the_estimator_and_counted_by_no_bound(self):
        program, x = program_of(perceptual=Squared()), images()
        losses = []
        for weight in (0.0, 0.5):
            pyro.set_rng_seed(0)
            estimator = Trace_ELBO(factors={"perceptual": weight})
            losses.append(estimator.loss(program.model, program.guide, x))
        pyro.set_rng_seed(0)
        evaluation = evaluate(program, x)
        assert evaluation.bound.sum().item() == pytest.approx(-losses[0], rel=1e-5)
        pyro.set_rng_seed(0)
        z = program.posterior(program.encoder(x)).sample()
        squares = (program.decoder(z) - x).square().sum()  # the mean, times the numbers of x
        assert losses[1] - losses[0] == pytest.approx(0.5 * 2 * squares.item(), rel=1e-3)

    def test_its_gradient_reaches_encoder_and_decoder_and_leaves_it_alone(self):
        perceptual = PerceptualDistance(ConvEncoder(X_SHAPE, (10,), channels=(4, 8)))
        program, x = program_of(perceptual=perceptual).train(), images()
        assert not any(part.training for part in perceptual.modules())
        gradients = []
        for weight in (0.0, 1.0):
            program.zero_grad()
            pyro.set_rng_seed(0)
            estimator = Trace_ELBO(beta=1e-6, factors={"perceptual": weight})
            estimator.loss_and_grads(program.model, program.guide, x)
            parts = (program.encoder, program.decoder)
            gradients.append([p.grad.clone() for part in parts for p in part.parameters()])
        assert all(p.grad is None for p in perceptual.parameters())
        assert all((a - b).abs().max() > 0 for a, b in zip(*gradients, strict=True) if a.any())

    def test_it_takes_several_particles(self):
        program = program_of(perceptual=Squared())
        estimator = Trace_ELBO(num_particles=3, vectorize_particles=True)
        assert math.isfinite(estimator.loss(program.model, program.guide, images()))

    def test_a_network_for_another_number_of_channels_is_refused(self):
        grey = PerceptualDistance(ConvEncoder((1, 8, 8), (10,), channels=(4, 8)))
        with pytest.raises(ValueError, match=r"images \(3, 8, 8\) is a PerceptualDist.* 1, 8, 8\)"):
            program_of(perceptual=grey)

    def test_a_network_that_gives_features_is_refused(self):
        class Both(Pixels):
            def forward(self, x, y):
                return x - y

        with pytest.raises(ValueError, match=r"Both, which gives \(2, 3, 8, 8\) for two pairs"):
            program_of(perceptual=Both())
        with pytest.raises(ValueError, match="is a Pixels, which fails on two of them"):
            program_of(perceptual=Pixels())


class TestProgram:
    def test_a_check_names_its_sites_and_the_perceptual_factor(self):
        report = check(program_of(perceptual=Squared()), images())
        assert {site.name for site in report.sites} == {"z", "x"}
        assert report.training_factors == ("perceptual",)

    def test_a_captured_step_is_the_eager_one_bit_for_bit(self):
        network = ConvEncoder(X_SHAPE, (10,), channels=(4, 8))
        program = program_of(perceptual=PerceptualDistance(network))
        captured_like_eager(program, Trace_ELBO(beta=1e-6), steps=4, batches=[images()])

    def test_it_gets_another_prior_without_being_run_again(self):
        first, x = program_of(), images(40)
        second = Refit(first, prior=GaussianMixture((4, 4, 4)))
        assert second.on_latents(Split(x)) is not None
        before = evaluate(second, x).bound.mean()
        fit(second, x, optim=pyro.optim.Adam({"lr": 0.05}), steps=60, progress=False)
        assert evaluate(second, x).bound.mean() > before
        assert encode(second, x)["z"].shape == (40, 4, 4, 4)

    def test_it_gets_a_diffusion_in_the_units_of_its_latents(self):
        diffusion = DiffusionPrior((4, 4, 4), steps=5, network=partial(TimeMLP, hidden=8))
        prior, x = Rescaled((4, 4, 4), prior=diffusion), images(40)
        first = program_of(scaling_factor=5.0)
        second = Refit(first, prior=prior)
        before = evaluate(first, x).bound.mean()
        assert evaluate(second, x).bound.mean() == pytest.approx(before.item(), rel=0.02)
        fit(second, x, optim=pyro.optim.Adam({"lr": 0.02}), steps=40, progress=False)
        assert evaluate(second, x).bound.mean() > before
        assert sample(second, 3, X_SHAPE).shape == (3, *X_SHAPE)

    def test_with_another_prior_it_states_no_perceptual_factor_any_more(self):
        losses = []
        for perceptual in (None, Squared()):
            second = Refit(program_of(perceptual=perceptual), prior=StandardNormal((4, 4, 4)))
            pyro.set_rng_seed(0)
            losses.append(Trace_ELBO().loss(second.model, second.guide, images()))
        assert losses[0] == losses[1]

    def test_its_networks_serve_a_vae_of_other_parts(self):
        vae = VAE(X_SHAPE, (4, 2, 2), encoder=KLEncoder, decoder=KLDecoder)
        assert check(vae, images().round())


@pytest.mark.parametrize(
    "x_shape, options, sentence",
    [
        ((3, 30, 32), {}, r"halves images 2 times, but 4 does not divide .* \(3, 30, 32\)"),
        ((3, 8, 8), {"groups": 3}, r"the 3 groups .* but these are \(32, 64, 64\).*divisor of 32"),
        ((3, 8, 8), {"channels": ()}, "needs positive numbers of channels"),
        ((3, 8, 8), {"blocks": 0}, "blocks must be at least 1, but is 0"),
        ((3, 8, 8), {"scaling_factor": 0.0}, "scaling_factor must be positive"),
        ((3, 8, 8), {"levels": (1.0, 1.0)}, r"black and white.*but are \(1.0, 1.0\)"),
        ((3, 8, 8), {"prior": StandardNormal((4, 4, 4))}, r"\(4, 4, 4\).*needs \(4, 2, 2\)"),
        ((8,), {}, r"needs images \(\.\.\., height, width\), but got \(8,\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(x_shape, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        KLAutoencoder(x_shape, **options)


@pytest.mark.parametrize(
    "build, sentence",
    [
        (
            lambda: KLEncoder((3, 8, 8), (2, 20)),
            r"latents \(channels, 2, 2\).*out_shape is \(2, 20",
        ),
        (lambda: KLEncoder((3, 8, 8), (4, 2, 2)), r"out_shape is \(4, 2, 2\); make it \(2, chan"),
        (lambda: KLDecoder((4, 4, 4), (3, 8, 8)), r"latents \(channels, 2, 2\).*is \(4, 4, 4\)"),
    ],
)
def test_latents_that_do_not_fit_the_images_are_refused(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()
