"""NVAE: its densities against the paper's formulas, its sizes, one path for model and guide."""

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.distributions import kl_divergence

from pyro_vae import likelihoods, networks, priors
from pyro_vae.inference import (
    IWAE,
    STL,
    SVI,
    Compile,
    Spectral,
    Trace_ELBO,
    TraceMeanField_ELBO,
    evaluate,
    reconstruct,
    sample,
)
from pyro_vae.inference.checking import check
from pyro_vae.inference.terms import collect
from pyro_vae.models import NVAE
from pyro_vae.networks import NormalizedConv
from pyro_vae.posteriors import SoftBoundedNormal

from .twins import captured_like_eager

X_SHAPE = (1, 4, 4)
SMALL = {"channels": 4, "groups": (1, 2), "latent_channels": 2}
X = (torch.rand(6, *X_SHAPE, generator=torch.Generator().manual_seed(0)) < 0.5).float()


def small(**options):
    return NVAE(X_SHAPE, **SMALL | options)


def traces(program, x=X):
    """The guide's trace, and that of the model at the same latents."""
    guide = poutine.trace(program.guide).get_trace(x)
    return guide, poutine.trace(poutine.replay(program.model, guide)).get_trace(x)


def latents(trace):
    """The distributions of the latents, by name, in the order of their draws."""
    sites = {name: site["fn"] for name, site in trace.nodes.items() if name.startswith("z_")}
    return {name: fn.base_dist for name, fn in sites.items()}


def num_parameters(build, *args, **options):
    """The number of parameters, of which none is allocated."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(*args, **options).parameters())


class TestSoftBoundedNormal:
    def test_it_is_the_papers_formula(self):
        part, h = SoftBoundedNormal(3), 10 * torch.randn(7, 2, 3)
        q = part(h)
        torch.testing.assert_close(q.base_dist.loc, 5 * (h[:, 0] / 5).tanh())
        torch.testing.assert_close(q.base_dist.scale, (5 * (h[:, 1] / 5).tanh()).exp() + 0.01)

    def test_huge_parameters_give_a_finite_kl_and_gradient(self):
        part = SoftBoundedNormal(3)
        h = torch.tensor([-1e4, 0.0, 1e4]).expand(2, 3).clone().requires_grad_()
        kl = kl_divergence(part(h), part(-h.detach()))
        kl.backward()
        assert kl.isfinite() and h.grad.isfinite().all()

    @pytest.mark.parametrize(
        "options, sentence",
        [({"bound": 0.0}, "bound must be positive"), ({"min_scale": -1}, "min_scale must be at")],
    )
    def test_bounds_out_of_range_are_refused(self, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            SoftBoundedNormal(3, **options)


class TestResidualPosterior:
    def test_its_kl_is_the_papers(self):
        """KL = sum (dloc^2 / scale_p^2 + dscale^2 - log dscale^2 - 1) / 2, section 3.2."""
        guide, model = traces(small().double(), X.double())
        assert list(latents(guide)) == list(latents(model)) == ["z_3", "z_2", "z_1"]
        for (name, q), p in zip(latents(guide).items(), latents(model).values(), strict=True):
            dloc, dscale = q.loc - p.loc, q.scale / p.scale
            paper = (dloc**2 / p.scale**2 + dscale**2 - (dscale**2).log() - 1) / 2
            kl = kl_divergence(guide.nodes[name]["fn"], model.nodes[name]["fn"])
            torch.testing.assert_close(kl, paper.sum((-3, -2, -1)).expand_as(kl))

    def test_it_is_relative_to_the_prior(self):
        """Where the bounds are far away, loc_q = loc_p + dloc and scale_q = scale_p dscale."""
        part = SoftBoundedNormal(3, bound=1e6, min_scale=0.0).double()
        h, residual = torch.randn(2, 7, 2, 3, dtype=torch.float64)
        q, p = part(h + residual).base_dist, part(h).base_dist
        torch.testing.assert_close(q.loc, p.loc + residual[:, 0])
        torch.testing.assert_close(q.scale, p.scale * residual[:, 1].exp())

    def test_without_what_x_adds_it_is_the_prior(self):
        program = small()
        for group in program.groups:
            for name, parameter in group.residual.named_parameters():
                if not name.endswith("direction"):
                    nn.init.zeros_(parameter)
        guide, model = traces(program)
        q, p = latents(guide), latents(model)
        for name in ("z_2", "z_1"):
            assert torch.equal(q[name].loc, p[name].loc)
            assert torch.equal(q[name].scale, p[name].scale)
        # of z_3 the prior is N(0, I), and the least scale of the posterior stands beside 1
        assert not q["z_3"].loc.any() and q["z_3"].scale.allclose(torch.tensor(1.01))

    def test_the_top_has_a_standard_normal_prior_or_the_one_that_is_given(self):
        p = latents(traces(small())[1])["z_3"]
        assert not p.loc.any() and (p.scale == 1).all()
        mixture = priors.GaussianMixture((2, 1, 1))
        assert check(small(prior=mixture), X).loss > 0


class TestPath:
    def test_sites_go_from_the_top_to_the_data_and_have_the_shapes_of_their_scales(self):
        program = NVAE((3, 16, 8), channels=4, groups=(2, 1, 2), latent_channels=3)
        guide = poutine.trace(program.guide).get_trace(torch.rand(5, 3, 16, 8))
        shapes = {name: tuple(fn.loc.shape) for name, fn in latents(guide).items()}
        assert shapes == {
            "z_5": (5, 3, 2, 1),
            "z_4": (5, 3, 2, 1),
            "z_3": (5, 3, 4, 2),
            "z_2": (5, 3, 8, 4),
            "z_1": (5, 3, 8, 4),
        }

    def test_model_and_guide_share_it(self):
        program = small().eval()
        pyro.set_rng_seed(1)
        before = [latents(trace) for trace in traces(program)]
        with torch.no_grad():
            program.groups[1].path[0].layers.skip[0].weight.mul_(3)  # between z_3 and z_2
        pyro.set_rng_seed(1)
        after = [latents(trace) for trace in traces(program)]
        for one, other in zip(before, after, strict=True):
            assert torch.equal(one["z_3"].loc, other["z_3"].loc)
            assert not torch.equal(one["z_2"].loc, other["z_2"].loc)

    def test_a_latent_is_seen_by_all_below_it_and_by_none_above(self):
        program = small().double().eval()
        guide = poutine.trace(program.guide).get_trace(X.double())
        draws = {name: guide.nodes[name]["value"] for name in ("z_3", "z_2", "z_1")}
        for changed, unlike in {"z_3": {"z_2", "z_1", "x"}, "z_2": {"z_1", "x"}}.items():
            other = draws | {changed: draws[changed] + 1}
            runs = [
                poutine.trace(poutine.condition(program.model, values)).get_trace(X.double())
                for values in (draws, other)
            ]
            found = set()
            for name in ("z_3", "z_2", "z_1", "x"):
                p, q = (run.nodes[name]["fn"].mean for run in runs)
                found |= set() if torch.equal(p, q) else {name}
            assert found == unlike

    def test_the_decoder_sees_no_x(self):
        program = small().eval()
        means = []
        for x in (X, 1 - X):
            pyro.set_rng_seed(1)
            means.append(poutine.trace(program.model).get_trace(x).nodes["x"]["fn"].mean)
        assert torch.equal(*means)

    def test_every_group_adds_its_rate(self):
        program = small()
        terms = collect(program.model, program.guide, (X,), {})
        assert all((latent.kl() > 0).all() for latent in terms.latents.values())

    def test_padding_is_cut_off_and_is_black(self):
        program = NVAE((1, 6, 6), **SMALL, padding=1).eval()
        black = torch.full((2, 1, 8, 8), 0.0)
        black[..., 1:-1, 1:-1] = 0.3
        inner = NVAE((1, 8, 8), **SMALL).eval()
        inner.load_state_dict(program.state_dict())
        for one, other in zip(
            program.encoder(torch.full((2, 1, 6, 6), 0.3)), inner.encoder(black), strict=True
        ):
            assert torch.equal(one, other)
        h = torch.randn(2, 4 * 2, 4, 4)
        assert torch.equal(program.decoder(h), inner.decoder(h)[..., 1:-1, 1:-1])


def test_a_convolution_with_normalized_weights_has_their_length_and_direction():
    conv = NormalizedConv(3, 4, 3)
    plain = conv.weight.detach()
    torch.testing.assert_close(plain, conv.direction.detach())  # as it starts
    with torch.no_grad():
        conv.direction.mul_(7.0)
        torch.testing.assert_close(conv.weight, plain)
        conv.length.fill_(2.0)
    torch.testing.assert_close(conv.weight.flatten(1).norm(dim=1), torch.full((4,), 2.0))
    x = torch.randn(5, 3, 6, 6)
    by_hand = nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)
    assert torch.equal(conv(x), by_hand)


def test_spectral_regularization_counts_every_convolution_by_the_weights_it_has():
    """At each size, beside the linear layers; the largest singular value by another algorithm."""
    program = small()
    layers = [m for m in program.modules() if isinstance(m, nn.Conv2d | nn.Linear | NormalizedConv)]
    assert sum(isinstance(m, NormalizedConv) for m in layers) == 2 + 1 + 3 * 2 + 2 * 2
    with torch.no_grad():
        exact = sum(torch.linalg.matrix_norm(m.weight.flatten(1), 2) for m in layers)
        found = Spectral(iterations=200)(program)
    assert found.item() == pytest.approx(exact.item(), rel=0.02)


class TestCells:
    def test_an_encoder_cell_is_the_formula(self):
        cell = networks.EncoderCell((4, 6, 6), (4, 6, 6)).double().eval()
        x = torch.randn(3, 4, 6, 6, dtype=torch.float64)
        norm_1, _, conv_1, norm_2, _, conv_2, squeeze = cell.layers.branch
        h = conv_1(nn.functional.silu(norm_1(x)))
        h = conv_2(nn.functional.silu(norm_2(h)))
        (A, a), (B, b) = (squeeze.layers.scales[i].parameters() for i in (0, 2))
        gate = torch.sigmoid((h.mean((2, 3)) @ A.T + a).relu() @ B.T + b)
        torch.testing.assert_close(cell(x), x + 0.1 * h * gate[:, :, None, None])

    def test_a_decoder_cell_copies_pixels_before_anything_else_does(self):
        """Copies after the 1x1 convolution are the same as before it, in training too."""
        cell = networks.DecoderCell((4, 3, 3), (2, 6, 6)).double()
        x = torch.randn(5, 4, 3, 3, dtype=torch.float64)
        branch, copies = cell.layers.branch, nn.Upsample(scale_factor=2)
        first = [part for part in branch if not isinstance(part, nn.Upsample)]
        late = cell.layers.skip[0](copies(x)) + 0.1 * nn.Sequential(*first)(copies(x))
        torch.testing.assert_close(cell(x), late)

    def test_a_halving_skip_reads_two_of_four_pixels(self):
        skip = networks.EncoderCell((1, 4, 4), (2, 2, 2)).layers.skip
        for conv in (skip.here, skip.beside):
            nn.init.ones_(conv.weight)
            nn.init.zeros_(conv.bias)
        x = torch.arange(16.0).reshape(1, 1, 4, 4)
        even, odd = skip(x)[0]
        assert even.tolist() == [[0, 2], [8, 10]] and odd.tolist() == [[5, 7], [13, 15]]

    def test_statistics_take_a_twentieth_of_each_batch(self):
        norms = [m for m in small().modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms and {norm.momentum for norm in norms} == {0.05}

    @pytest.mark.parametrize(
        "build, sentence",
        [
            (
                lambda: networks.EncoderCell((4, 6, 6), (4, 2, 2)),
                r"an EncoderCell gives.*half.*in_shape is \(4, 6, 6\) and out_shape \(4, 2, 2\)",
            ),
            (lambda: networks.EncoderCell((4, 5, 5), (4, 2, 2)), "half as high and wide"),
            (lambda: networks.DecoderCell((4, 6, 6), (4, 3, 3)), "a DecoderCell.* twice as high"),
            (lambda: networks.DecoderCell((4, 6, 6), (4, 6, 6), expansion=0), "expansion must be"),
            (
                lambda: networks.DecoderCell((4, 6, 6), (4, 6, 6), kernel_size=4),
                "kernel_size of a DecoderCell must be odd.* but is 4",
            ),
            (lambda: networks.DecoderCell((6, 6), (6, 6)), r"images \(C, H, W\), but got \(6, 6\)"),
            (lambda: networks.SqueezeExcitation((4, 6, 6), (5, 6, 6)), "both the same shape"),
            (lambda: networks.EncoderCell(((4, 6, 6), (2,)), (4, 6, 6)), "is one image, but in_sh"),
        ],
    )
    def test_shapes_that_do_not_fit_are_refused(self, build, sentence):
        with pytest.raises(ValueError, match=sentence):
            build()


def by_hand(
    x_channels,
    h_channels,
    *,
    channels,
    groups,
    latents,
    cells,
    blocks,
    block_cells,
    top,
    expansion=6,
    kernel_size=5,
):
    """The number of parameters, added up layer by layer from the paper's description."""

    def squeeze(c):
        hidden = max(c // 16, 4)
        return c * hidden + hidden + hidden * c + c

    def encoder_cell(c, d):
        norms, convs = 2 * c + 2 * d, 9 * c * d + 9 * d * d + d
        return norms + convs + squeeze(d) + (c * d + d if c != d else 0)

    def decoder_cell(c, d, times=expansion):
        wide = times * c
        norms, convs = 2 * c + 4 * wide + 2 * d, c * wide + kernel_size**2 * wide + wide * d
        return norms + convs + squeeze(d) + (c * d + d if c != d else 0)

    def conv(c, d, size=1):  # with a bias, and a norm of the weights, for each output
        return size * size * c * d + 2 * d

    at = [channels * 2**k for k in range(blocks + len(groups))]
    total = conv(x_channels, at[0], 3) + conv(at[0], h_channels, 3) + at[-1] * top
    for k in range(blocks):
        same = block_cells - 1
        total += same * encoder_cell(at[k], at[k]) + encoder_cell(at[k], at[k + 1])
        half = expansion // 2
        total += decoder_cell(at[k + 1], at[k], half) + same * decoder_cell(at[k], at[k], half)
    for c, number in zip(at[::-1], groups, strict=False):
        total += number * (cells * encoder_cell(c, c) + conv(c + latents, c))
        total += number * conv(c, 2 * latents, 3)
        below_top = number - (c == at[-1])
        total += below_top * (cells * decoder_cell(c, c) + conv(c, 2 * latents) + conv(c, c))
    for k in range(blocks, blocks + len(groups) - 1):
        total += encoder_cell(at[k], at[k + 1]) + decoder_cell(at[k + 1], at[k])
    return total + conv(at[-1], at[-1])


class TestSizes:
    def test_the_papers_mnist_model_has_33_million_parameters(self):
        sizes = {"channels": 32, "groups": (5, 10), "latents": 20, "cells": 2, "blocks": 2}
        expected = by_hand(1, 1, **sizes, block_cells=3, top=4 * 4)
        assert num_parameters(NVAE.mnist) == expected == 33_345_406

    def test_the_papers_cifar_10_model_without_flows_has_129_million_parameters(self):
        sizes = {"channels": 128, "groups": (30,), "latents": 20, "cells": 2, "blocks": 1}
        expected = by_hand(3, 100, **sizes, block_cells=2, top=16 * 16)
        assert num_parameters(NVAE.cifar10) == expected == 129_168_192

    def test_the_default_has_half_a_million(self):
        sizes = {"channels": 16, "groups": (2, 3), "latents": 8, "cells": 1, "blocks": 1}
        expected = by_hand(1, 1, **sizes, block_cells=1, top=7 * 7)
        assert num_parameters(NVAE, (1, 28, 28)) == expected == 517_398

    def test_a_laptops_has_less_than_a_million(self):
        sizes = {"channels": 8, "groups": (5, 5), "cells": 1, "blocks": 2, "block_cells": 1}
        cheap = {"expansion": 3, "kernel_size": 3}
        expected = by_hand(1, 1, **sizes, **cheap, latents=8, top=4 * 4)
        assert num_parameters(NVAE, (1, 28, 28), **sizes, **cheap, padding=2) == expected == 856_694

    def test_without_blocks_the_finest_latents_are_as_large_as_the_image(self):
        guide = poutine.trace(small(blocks=0).guide).get_trace(X)
        assert guide.nodes["z_1"]["value"].shape == (6, 2, 4, 4)

    @pytest.mark.parametrize(
        "likelihood",
        [likelihoods.DiscretizedLogisticMixture, likelihoods.Categorical, likelihoods.Normal],
    )
    def test_it_takes_likelihoods_of_several_numbers_a_pixel(self, likelihood):
        assert check(
            NVAE((3, 4, 4), **SMALL, likelihood=likelihood((3, 4, 4))), X.expand(6, 3, 4, 4)
        )

    def test_images_without_a_dimension_of_channels_are_taken(self):
        assert sample(NVAE((4, 4), **SMALL), 3, (4, 4)).shape == (3, 4, 4)


class TestEstimators:
    @pytest.mark.parametrize(
        "loss",
        [Trace_ELBO(), TraceMeanField_ELBO(), STL(), IWAE(3)],
        ids=lambda loss: type(loss).__name__,
    )
    def test_a_captured_step_is_the_eager_one_bit_for_bit(self, loss):
        captured_like_eager(small(groups=(2,), blocks=0), loss, steps=3)

    def test_bounds_agree_but_for_their_draws(self):
        """KL in closed form, sampled, and without the score: one mean; IWAE is above."""
        program = small().eval()
        means = {}
        for loss in (Trace_ELBO, TraceMeanField_ELBO, STL):
            many = loss(num_particles=2_000, vectorize_particles=True)
            means[loss] = -many.loss(program.model, program.guide, X) / len(X)
        spread = max(means.values()) - min(means.values())
        assert spread < 0.1, means  # the error of each is below 0.02
        above = -IWAE(200).loss(program.model, program.guide, X) / len(X)
        assert above > max(means.values())

    def test_a_dimension_of_particles_is_what_each_particle_is_alone(self):
        program = small().eval()
        terms = collect(program.model, program.guide, (X,), {}, num_particles=2)
        for k in range(2):
            values = {name: latent.z[k] for name, latent in terms.latents.items()}
            model = poutine.trace(poutine.condition(program.model, values)).get_trace(X)
            model.compute_log_prob()
            torch.testing.assert_close(model.nodes["x"]["log_prob"], terms.log_px[k])

    def test_it_is_evaluated_and_reconstructs(self):
        program = small().eval()
        assert evaluate(program, X).bound.isfinite().all()
        assert reconstruct(program, X).shape == X.shape

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
    def test_a_compiled_step_is_the_eager_one(self):
        losses = []
        for compile in (False, Compile()):
            pyro.set_rng_seed(0)
            program = small(groups=(2,), blocks=0)
            optim = pyro.optim.Adam({"lr": 1e-3})
            svi = SVI(program.model, program.guide, optim, Trace_ELBO(), compile=compile)
            pyro.set_rng_seed(1)
            losses.append([svi.step(X).item() for _ in range(5)])
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    "x_shape, options, sentence",
    [
        (
            (1, 28, 28),
            {"groups": (1, 1, 1), "blocks": 1},
            r"an NVAE of 3 scales after 1 blocks halves its images 3 times, but 8 does not divide "
            r"28 x 28; give padding=2, fewer scales or fewer blocks",
        ),
        ((1, 28, 27), {}, r"4 does not divide 28 x 27; give fewer scales or fewer blocks"),
        ((1, 4, 4), {"groups": (1,) * 4}, "16 does not divide 4 x 4; give padding=6,"),
        ((1, 4, 4), {"groups": ()}, r"groups is \(\), but must tell how many groups .*\(2, 3\)"),
        ((1, 4, 4), {"groups": 5}, "groups is 5, but must tell how many groups"),
        ((1, 4, 4), {"groups": (0, 3)}, "groups must be at least 1, but is 0"),
        ((1, 4, 4), {"groups": (1.5, 3)}, "groups must be a whole number, but is 1.5"),
        ((1, 4, 4), {"channels": 0}, "channels must be at least 1"),
        ((1, 4, 4), {"latent_channels": 0}, "latent_channels must be at least 1"),
        ((1, 4, 4), {"cells": 0}, "cells must be at least 1"),
        ((1, 4, 4), {"blocks": -1}, "blocks must be a whole number of at least 0, but is -1"),
        ((1, 4, 4), {"padding": 0.5}, "padding must be a whole number of at least 0, but is 0.5"),
        ((784,), {}, r"is of images \(\.\.\., height, width\), but x_shape is \(784,\)"),
        (
            (1, 4, 4),
            {"prior": priors.StandardNormal((2, 2, 2))},
            r"prior's latent_dim is \(2, 2, 2\), but this NVAE needs \(8, 1, 1\)",
        ),
        (
            (1, 4, 4),
            {"likelihood": likelihoods.Bernoulli((1, 5, 5))},
            r"likelihood's x_shape is \(1, 5, 5\), but this NVAE needs \(1, 4, 4\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(x_shape, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        NVAE(x_shape, **options)
