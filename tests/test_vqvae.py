"""The VQ-VAE against enumeration, its second stage, and what a step does to its codes."""

import copy

import pyro
import pytest
import torch
from torch import nn

from pyro_vae import check
from pyro_vae.datasets import Split
from pyro_vae.inference import (
    IWAE,
    STL,
    SVI,
    Compile,
    DReG,
    Trace_ELBO,
    TraceMeanField_ELBO,
    encode,
    evaluate,
    fit,
    log_likelihood,
    reconstruct,
    sample,
)
from pyro_vae.inference.evaluation import code_usage
from pyro_vae.models import VAE, VQVAE, ConditionalVAE, Refit
from pyro_vae.posteriors import (
    FSQ,
    DiagonalNormal,
    NearestCode,
    ResidualCodes,
    SimVQ,
    StochasticCode,
)
from pyro_vae.priors import (
    FlowPrior,
    GaussianMixture,
    PixelCNNPrior,
    StandardNormal,
    TransformerPrior,
)

X_SHAPE = (1, 4, 4)
QUANTIZERS = {
    "FSQ": lambda: FSQ((2, 2)),
    "NearestCode": lambda: NearestCode(4, 2),
    "by gradient": lambda: NearestCode(4, 2, decay=None),
    "SimVQ": lambda: SimVQ(4, 2),
    "ResidualCodes": lambda: ResidualCodes(2, 2, choices=2),
    "StochasticCode": lambda: StochasticCode(4, 2, scale=0.5),
}


class Tiles(nn.Module):
    """A convolution of each 4 x 2 tile to a position, or back."""

    def __init__(self, in_shape, out_shape):
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        make = nn.Conv2d if in_shape[-1] > out_shape[-1] else nn.ConvTranspose2d
        self.layer = make(in_shape[0], out_shape[0], (4, 2), (4, 2))

    def forward(self, x):
        h = self.layer(x.reshape(-1, *self.in_shape))
        return h.reshape(*x.shape[:-3], *self.out_shape)


def vqvae(quantizer, prior=None):
    torch.manual_seed(0)
    quantizer = QUANTIZERS[quantizer]() if isinstance(quantizer, str) else quantizer
    return VQVAE(
        X_SHAPE, posterior=quantizer, prior=prior, encoder=Tiles, decoder=Tiles, grid=(1, 2)
    )


def images(n=6):
    return torch.rand(n, *X_SHAPE, generator=torch.Generator().manual_seed(1)).round()


def exact(program, x):
    """log p(x) (N,) and log p(z | x) of all grids z (grids, N), by enumeration."""
    posterior, (rows, width) = program.posterior, program.prior.code_grid
    values = torch.arange(posterior.num_codes)
    grids = torch.cartesian_prod(*[values] * (rows * width)).view(-1, rows, width)
    z = posterior.vectors(grids)
    log_px = program.likelihood(program.decoder(z)[:, None]).log_prob(x)  # (grids, N)
    log_joint = log_px + program.prior().log_prob(z)[:, None]
    log_p = log_joint.logsumexp(0)
    return log_p, log_joint - log_p, z


@pytest.mark.parametrize("prior", [None, PixelCNNPrior, TransformerPrior])
@pytest.mark.parametrize("name", ["FSQ", "NearestCode", "by gradient", "SimVQ", "ResidualCodes"])
def test_the_gap_of_the_bound_is_minus_the_log_posterior_of_the_chosen_codes(name, prior):
    program, x = vqvae(name, None if prior is None else prior()), images()
    bound = evaluate(program, x).bound
    with torch.no_grad():
        log_p, log_posterior, grids = exact(program.eval(), x)
        z = encode(program, x)["z"]
    here = (grids[:, None] == z).flatten(2).all(-1)
    gap = torch.stack([column[mask] for column, mask in zip(log_posterior.T, here.T, strict=True)])
    torch.testing.assert_close(log_p - bound, -gap.squeeze(1))
    assert (bound <= log_p + 1e-5).all()


def test_the_rate_of_the_uniform_prior_is_the_logarithm_of_the_number_of_grids():
    evaluation = evaluate(vqvae("NearestCode"), images())
    torch.testing.assert_close(evaluation.rate, torch.full((6,), 2 * torch.tensor(4.0).log()))


def test_the_bound_of_stochastic_codes_is_below_the_evidence_by_the_divergence():
    program, x = vqvae("StochasticCode"), images(3)
    copies = x.repeat(100, 1, 1, 1)
    bound = evaluate(program, copies, num_particles=30).bound.view(100, 3).mean(0)
    with torch.no_grad():
        log_p, log_posterior, grids = exact(program.eval(), x)
        q = program.posterior(program.encoder(x))
        log_q = q.log_prob(grids[:, None])
    divergence = (log_q.exp() * (log_q - log_posterior)).sum(0)
    assert (divergence > 0).all()
    spread = (log_q.exp() * (log_q - log_posterior - divergence) ** 2).sum(0).sqrt()
    assert ((log_p - divergence - bound).abs() < 4 * spread / 3000**0.5 + 1e-4).all()


def test_the_bound_of_stochastic_codes_tends_to_that_of_the_nearest():
    program, x = vqvae(StochasticCode(4, 2, scale=1e-3)), images()
    nearest = NearestCode(4, 2)
    nearest.codebook.copy_(program.posterior.codes.detach())
    point = VQVAE(
        X_SHAPE,
        posterior=nearest,
        encoder=program.encoder,
        decoder=program.decoder,
        grid=(1, 2),
    )
    torch.testing.assert_close(evaluate(program, x).bound, evaluate(point, x).bound)


def test_the_importance_weighted_likelihood_of_stochastic_codes_is_the_evidence():
    program, x = vqvae(StochasticCode(4, 2, scale=2.0)), images(3)
    estimate = log_likelihood(program, x, num_particles=4000)
    with torch.no_grad():
        log_p, _, _ = exact(program.eval(), x)
    torch.testing.assert_close(estimate, log_p, atol=0.02, rtol=0)


def test_the_encoders_gradient_is_the_papers():
    program, x = vqvae("by gradient").eval(), images()
    Trace_ELBO(factors={"commitment": 0.25}).loss_and_grads(program.model, program.guide, x)
    h = program.encoder(x)
    codes = program.posterior.codes
    z = codes[program.posterior.indices(h)].movedim(-1, 1)
    e = z.detach().requires_grad_()
    log_px = program.likelihood(program.decoder(e)).log_prob(x).sum()
    (through,) = torch.autograd.grad(log_px, e)

    def mean_square(a, b):
        return ((a - b) ** 2).sum(1).mean((1, 2)).sum()

    # equation 3: the decoder's gradient is copied to h; sg[] is detach()
    loss = -(through * h).sum() + 0.25 * mean_square(h, z.detach()) + mean_square(h.detach(), z)
    parameters = [*program.encoder.parameters(), program.posterior.codebook]
    expected = torch.autograd.grad(loss, parameters)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_no_bound_counts_the_penalties():
    program, x = vqvae("NearestCode").eval(), images()
    without, counted = (
        Trace_ELBO(factors={"commitment": weight}).loss(program.model, program.guide, x)
        for weight in (0, 1)
    )
    assert without < counted
    torch.testing.assert_close(evaluate(program, x).bound.sum().item(), -without)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_captured_step_is_the_eager_one_to_the_last_bit(name):
    programs = []
    for mode in ("captured", "eager"):
        program = vqvae(name)
        optim, loss = pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO()
        compile = Compile(mode=mode) if mode == "captured" else False
        svi = SVI(program.model, program.guide, optim, loss, compile=compile)
        torch.manual_seed(3)
        for _ in range(12):
            svi.step(images())
        assert svi.mode == mode
        programs.append(program.state_dict())
        pyro.clear_param_store()
    for key, value in programs[0].items():
        assert torch.equal(value, programs[1][key]), key


@pytest.mark.parametrize(
    "loss", [Trace_ELBO(num_particles=3, vectorize_particles=False), IWAE(3, chunk_size=1)]
)
def test_averages_advance_once_a_step_however_often_the_guide_runs(loss):
    states = []
    for estimator in (Trace_ELBO(), loss):
        program = vqvae("NearestCode")
        SVI(program.model, program.guide, pyro.optim.SGD({"lr": 0.0}), estimator).step(images(40))
        states.append(program.posterior.count)
    assert torch.equal(*states) and states[0].sum() > 0


@pytest.mark.parametrize("loss", [STL(), DReG(2)])
def test_an_estimator_that_needs_noise_in_the_draw_says_so(loss):
    program = vqvae("NearestCode")
    with pytest.raises(ValueError, match="use Trace_ELBO"):
        loss.loss_and_grads(program.model, program.guide, images())


def test_closed_and_drawn_divergence_are_the_same():
    program = vqvae("FSQ").eval()
    drawn, closed = (
        loss.loss(program.model, program.guide, images())
        for loss in (Trace_ELBO(), TraceMeanField_ELBO())
    )
    assert drawn == pytest.approx(closed)


# beside them runs that see what the program is, for its bound, active units and information
@pytest.mark.parametrize(
    "name, runs, looks", [("FSQ", 1, 3), ("NearestCode", 1, 3), ("StochasticCode", 20, 6)]
)
def test_a_guide_that_draws_nothing_is_run_once_however_many_particles(name, runs, looks):
    program, x, calls = vqvae(name).eval(), images(), []
    program.decoder.register_forward_hook(lambda *_: calls.append(1))
    once = evaluate(program, x).bound
    before = len(calls)
    found = evaluate(program, x, num_particles=20).bound
    assert len(calls) - before == runs + looks
    if runs == 1:
        assert torch.equal(found, once)
        torch.testing.assert_close(log_likelihood(program, x, 1000), once)


def test_samples_and_reconstructions_have_the_shape_of_data():
    program, x = vqvae("NearestCode"), images()
    assert sample(program, 3, X_SHAPE).shape == (3, *X_SHAPE)
    assert reconstruct(program, x).shape == x.shape


def test_the_default_networks_lead_to_a_quarter_of_the_image():
    program = VQVAE((1, 8, 12), posterior=FSQ((3, 3)), channels=(4, 4))
    assert encode(program, torch.zeros(2, 1, 8, 12))["z"].shape == (2, 2, 2, 3)


def test_usage_counts_the_codes_and_what_they_are_worth():
    program, x = vqvae("NearestCode"), images(50)
    usage = code_usage(program, x, batch_size=20)["z"]
    chosen = program.posterior.indices(encode(program, x)["z"]).flatten()
    share = torch.stack([(chosen == k).float().mean() for k in range(4)])
    assert usage.used == len(chosen.unique())
    entropy = -(share[share > 0] * share[share > 0].log()).sum()
    assert usage.perplexity == pytest.approx(entropy.exp().item(), rel=1e-5)
    assert not code_usage(VAE(X_SHAPE, latent_dim=2, hidden=(3,)), x)


class TestRefit:
    def test_it_has_the_bound_of_the_program_with_its_prior(self):
        first, prior = vqvae("FSQ"), PixelCNNPrior(channels=4, layers=2)
        program, x = Refit(first, prior=prior), images()
        both = VQVAE(
            X_SHAPE,
            posterior=first.posterior,
            prior=prior,
            encoder=first.encoder,
            decoder=first.decoder,
            grid=(1, 2),
        )
        torch.testing.assert_close(evaluate(program, x).bound, evaluate(both, x).bound)

    def test_it_leaves_the_first_stage_as_it_was(self):
        first = vqvae("NearestCode")
        before = copy.deepcopy(first.state_dict())
        program = Refit(first, prior=PixelCNNPrior(channels=4, layers=2))
        fit(program, images(40), epochs=3, progress=False)
        after = first.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_its_first_stage_stays_in_evaluation_mode(self):
        program = Refit(vqvae("NearestCode"), prior=TransformerPrior(width=4, heads=1, layers=1))
        program.train()
        assert program.program.prior.training and not program.program.posterior.training

    @pytest.mark.parametrize("name", ["FSQ", "ResidualCodes"])
    def test_on_latents_the_loss_is_that_on_data(self, name):
        first, x = vqvae(name), images(20)
        program = Refit(first, prior=PixelCNNPrior(channels=4, layers=2))
        alone, latents = program.on_latents(Split(x))
        loss = Trace_ELBO()
        on_data = loss.loss(program.model, program.guide, x)
        on_latents = loss.loss(alone.model, alone.guide, *latents.tensors.values())
        assert on_latents == pytest.approx(on_data)

    def test_neither_encoder_nor_decoder_runs_while_the_prior_of_codes_trains(self):
        first, calls = vqvae("FSQ"), []
        program = Refit(first, prior=PixelCNNPrior(channels=4, layers=2))
        for part in (first.encoder, first.decoder):
            part.register_forward_hook(lambda *_: calls.append(1))
        fit(program, images(20), valid=images(30), epochs=4, batch_size=10, progress=False)
        assert len(calls) == 12  # for each part of the data: two looks, and once over them

    @pytest.mark.parametrize("name", ["FSQ", "NearestCode"])
    def test_what_validation_says_is_what_evaluation_says(self, name):
        program = Refit(vqvae(name), prior=PixelCNNPrior(channels=4, layers=2))
        valid = images(30)
        training = fit(program, images(20), valid=valid, epochs=1, progress=False)
        found, (record,) = evaluate(program, valid), training.records
        assert record["valid_loss"] == pytest.approx(-found.bound.mean().item())
        assert record["rate"] == pytest.approx(found.rate.mean().item())
        assert record["codes_used"] == code_usage(program, valid)["z"].used

    def test_a_prior_learns_what_the_data_use(self):
        first, x = vqvae("FSQ"), images(400)
        program = Refit(first, prior=TransformerPrior(width=16, heads=2, layers=1))
        before = evaluate(program, x)
        fit(program, x, optim=pyro.optim.Adam({"lr": 1e-2}), epochs=30, progress=False)
        after = evaluate(program, x)
        codes = first.posterior.indices(encode(first, x)["z"]).flatten(1)
        joint = codes[:, 0] * 4 + codes[:, 1]
        share = torch.bincount(joint).float() / len(x)
        entropy = -(share[share > 0] * share[share > 0].log()).sum()
        torch.testing.assert_close(after.distortion, before.distortion)
        # the best prior's rate is the entropy of the grids that occur
        torch.testing.assert_close(after.rate.mean(), entropy, atol=0.03, rtol=0)
        assert (after.rate.mean() > entropy - 1e-4) and after.rate.mean() < before.rate.mean()

    def test_a_vae_gets_a_flow(self):
        first, x = VAE(X_SHAPE, latent_dim=2, hidden=(8,)), images(200)
        program = Refit(first, prior=FlowPrior(2))
        before = {name: value.clone() for name, value in first.state_dict().items()}
        fit(program, x, epochs=2, progress=False)
        assert all(torch.equal(before[name], value) for name, value in first.state_dict().items())
        assert evaluate(program, x).bound.isfinite().all()

    def test_a_vaes_loss_on_latents_has_the_mean_of_that_on_data(self):
        first, x = VAE(X_SHAPE, latent_dim=2, hidden=(8,)), images(5).repeat(30, 1, 1, 1)
        program = Refit(first, prior=StandardNormal(2))
        draws = torch.tensor(
            [
                (
                    Trace_ELBO().loss(program.model, program.guide, x),
                    (lambda a, d: Trace_ELBO().loss(a.model, a.guide, *d.tensors.values()))(
                        *program.on_latents(Split(x))
                    ),
                )
                for _ in range(50)
            ]
        )
        difference = draws[:, 0] - draws[:, 1]
        assert difference.mean().abs() < 4 * difference.std() / 50**0.5

    def test_its_arguments_are_those_of_the_program(self):
        first = ConditionalVAE(X_SHAPE, latent_dim=2, hidden=(3,))
        program, x, y = Refit(first, prior=GaussianMixture(2)), images(), torch.arange(6)
        torch.testing.assert_close(
            evaluate(program, x, y).distortion, evaluate(first, x, y).distortion, atol=9, rtol=1
        )
        fit(program, Split(x, y), steps=2, progress=False)

    def test_data_that_change_each_epoch_are_not_kept(self):
        program = Refit(vqvae("FSQ"), prior=PixelCNNPrior(channels=4, layers=2))
        assert program.on_latents(Split(images(), draw=torch.bernoulli)) is None

    def test_a_program_without_a_prior_is_refused(self):
        with pytest.raises(ValueError, match="Linear has no part named prior; write the"):
            Refit(nn.Linear(2, 2), prior=StandardNormal(2))

    def test_a_prior_of_another_size_is_refused(self):
        with pytest.raises(ValueError, match=r"\(3,\).*needs \(2,\)"):
            Refit(VAE(X_SHAPE, latent_dim=2, hidden=(3,)), prior=StandardNormal(3))

    def test_a_prior_of_codes_for_a_program_without_any_is_refused(self):
        with pytest.raises(ValueError, match="DiagonalNormal has none"):
            Refit(VAE(X_SHAPE, latent_dim=2, hidden=(3,)), prior=PixelCNNPrior())


def test_an_image_that_no_grid_quarters_is_refused():
    with pytest.raises(ValueError, match=r"4 divides, but x_shape is \(1, 6, 8\)"):
        VQVAE((1, 6, 8))


@pytest.mark.parametrize("grid", [4, (2, 2, 2)])
def test_a_grid_that_is_no_height_and_width_is_refused(grid):
    with pytest.raises(ValueError, match="grid is .* but must be a height and a width"):
        VQVAE((1, 8, 8), grid=grid)


def test_networks_for_another_grid_are_refused():
    wrong = nn.Module()
    wrong.in_shape, wrong.out_shape = X_SHAPE, (2, 3, 3)
    with pytest.raises(ValueError, match=r"encoder's out_shape is \(2, 3, 3\).*needs \(2, 1, 2\)"):
        VQVAE(X_SHAPE, posterior=FSQ((2, 2)), encoder=wrong, decoder=Tiles, grid=(1, 2))


def test_a_posterior_without_codes_is_refused():
    with pytest.raises(TypeError, match="is a DiagonalNormal, but must choose among codes; give a"):
        VQVAE((1, 8, 8), posterior=DiagonalNormal(3))


def test_a_quantizer_is_refused_where_latents_are_no_codes():
    with pytest.raises(TypeError, match="it chooses codes, which are latents of VQVAE"):
        VAE((1, 8, 8), posterior=FSQ())


def test_a_check_names_latents_data_and_penalties():
    report = check(vqvae("NearestCode"), images())
    assert report.training_factors == ("commitment",)
    assert {site.name for site in report.sites} == {"z", "x"}


def test_mixtures_of_codes_are_no_draws_to_be_weighed():
    program = vqvae("StochasticCode")
    with pytest.raises(ValueError, match="RelaxedCodes.*is an estimate"):
        IWAE(2).loss(program.model, program.guide, images())


CONDITIONAL = {
    "PixelCNNPrior": lambda: PixelCNNPrior(channels=4, layers=2, num_classes=3),
    "TransformerPrior": lambda: TransformerPrior(width=8, heads=2, layers=1, num_classes=3),
}


def without_classes(prior):
    """A prior of the same network that sees no class."""
    if isinstance(prior, PixelCNNPrior):
        return PixelCNNPrior(channels=prior.channels, layers=prior.num_layers)
    return TransformerPrior(width=prior.width, layers=prior.num_layers, heads=prior.heads)


@pytest.mark.parametrize("name", CONDITIONAL)
class TestRefitWithClasses:
    """A prior p(z | y) of a program that was trained without labels."""

    def program(self, name):
        torch.manual_seed(0)
        program = Refit(vqvae("FSQ"), prior=CONDITIONAL[name]())
        for parameter in program.program.prior.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return program.eval()

    def test_the_probabilities_of_all_codes_sum_to_one_for_each_class(self, name):
        prior = self.program(name).program.prior.prior
        codes = torch.cartesian_prod(*[torch.arange(4)] * 2).view(-1, 1, 2)
        totals = [
            prior.log_prob_of(codes, torch.full((len(codes),), y)).logsumexp(0) for y in range(3)
        ]
        torch.testing.assert_close(torch.stack(totals), torch.zeros(3), atol=1e-5, rtol=0)

    def test_its_bound_is_that_of_the_prior_of_each_datums_class(self, name):
        program, x, y = self.program(name), images(), torch.tensor([0, 1, 2, 2, 1, 0])
        found = evaluate(program, x, y)
        z = encode(program, x, y)["z"]
        prior = program.program.prior.prior
        indices = program.program.posterior.indices(z)
        each = [prior.log_prob_of(indices[i : i + 1], y[i : i + 1]) for i in range(6)]
        torch.testing.assert_close(-found.rate, torch.cat(each).detach())

    def test_several_particles_see_the_class_of_their_datum(self, name):
        program, x, y = self.program(name), images(), torch.tensor([0, 1, 2, 2, 1, 0])
        one, several = (
            Trace_ELBO(num_particles=k).loss(program.model, program.guide, x, y) for k in (1, 3)
        )
        assert several == pytest.approx(one, rel=1e-5)

    def test_draws_have_the_frequencies_of_their_class(self, name):
        prior = self.program(name).program.prior.prior
        y = torch.arange(3).repeat(4000)
        with torch.no_grad():
            drawn = prior.draw(y.shape, y).flatten(1)
        joint = drawn[:, 0] * 4 + drawn[:, 1]
        codes = torch.cartesian_prod(*[torch.arange(4)] * 2).view(-1, 1, 2)
        for label in range(3):
            p = prior.log_prob_of(codes, torch.full((16,), label)).exp().detach()
            share = torch.bincount(joint[y == label], minlength=16) / 4000
            assert ((share - p).abs() < 5 * (p * (1 - p) / 4000).sqrt() + 1e-4).all()

    def test_a_class_that_says_all_takes_off_its_entropy(self, name):
        program, x = self.program(name), images(300)
        z = encode(program.program, x)["z"]
        first, second = program.program.posterior.indices(z).flatten(1).unbind(1)
        y = (first * 4 + second).unique(return_inverse=True)[1].clamp(max=2)
        alone = Refit(vqvae("FSQ"), prior=without_classes(program.program.prior.prior))
        settings = {"batch_size": 300, "steps": 120, "progress": False}
        for each, data in ((program, Split(x, y)), (alone, x)):
            fit(each, data, optim=pyro.optim.Adam({"lr": 0.05}), **settings)
        share = torch.bincount(y).float() / len(y)
        entropy = torch.special.entr(share).sum()
        gain = evaluate(alone, x).rate.mean() - evaluate(program, x, y).rate.mean()
        torch.testing.assert_close(gain, entropy, atol=0.1, rtol=0)

    def test_on_latents_the_loss_is_that_on_data(self, name):
        program, x, y = self.program(name), images(), torch.tensor([0, 1, 2, 2, 1, 0])
        alone, latents = program.on_latents(Split(x, y))
        loss = Trace_ELBO()
        on_latents = loss.loss(alone.model, alone.guide, *latents.tensors.values())
        assert on_latents == pytest.approx(loss.loss(program.model, program.guide, x, y))

    def test_a_captured_step_on_data_is_the_eager_one_to_the_last_bit(self, name):
        states, y = [], torch.tensor([0, 1, 2, 2, 1, 0])
        for mode in ("captured", "eager"):
            program = self.program(name).train()
            compile = Compile(mode=mode) if mode == "captured" else False
            optim = pyro.optim.Adam({"lr": 1e-2})
            svi = SVI(program.model, program.guide, optim, Trace_ELBO(), compile=compile)
            for step in range(8):
                svi.step(images(), y.roll(step))
            assert svi.mode == mode
            states.append(program.state_dict())
            pyro.clear_param_store()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    def test_samples_are_of_a_class(self, name):
        program = self.program(name)
        assert sample(program, 3, X_SHAPE, y=torch.tensor([0, 2, 2])).shape == (3, *X_SHAPE)
        with pytest.raises(ValueError, match="needs labels y"):
            sample(program, 3, X_SHAPE)

    def test_labels_of_a_training_that_are_no_classes_are_refused(self, name):
        program, data = self.program(name), Split(images(), torch.tensor([0, 1, 2, 3, 1, 0]))
        with pytest.raises(ValueError, match="are 0 to 2, but labels run from 0 to 3"):
            program.on_latents(data)

    def test_what_is_no_class_is_named(self, name):
        program, x = self.program(name), images()
        with pytest.raises(ValueError, match="are 0 to 2, but labels run from -1 to 3"):
            evaluate(program, x, torch.tensor([0, 1, 2, 3, -1, 0]))
        with pyro.validation_enabled(False):
            y = torch.tensor([0, 1, 2, 3, -1, 0])
            lost = program.program.prior.prior(y).log_prob(encode(program, x, y)["z"])
        assert lost.isnan().tolist() == [False, False, False, True, True, False]

    def test_without_refit_the_class_is_asked_for(self, name):
        program = VQVAE(
            X_SHAPE,
            prior=CONDITIONAL[name](),
            posterior=FSQ((2, 2)),
            grid=(1, 2),
            encoder=vqvae("FSQ").encoder,
            decoder=vqvae("FSQ").decoder,
        )
        with pytest.raises(ValueError, match=r"is p\(z \| y\) of 3 classes y, which are not given"):
            program.model(images())
