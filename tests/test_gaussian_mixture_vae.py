"""VaDE: a VAE with a mixture prior whose cluster is a site, by two ways and by hand."""

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from scipy import special, stats

from pyro_vae.inference import Trace_ELBO, decode, evaluate, fit
from pyro_vae.inference.checking import check
from pyro_vae.inference.terms import collect
from pyro_vae.likelihoods import Normal
from pyro_vae.models import VAE, GaussianMixtureVAE
from pyro_vae.networks import MLP
from pyro_vae.posteriors import Delta
from pyro_vae.priors import GaussianMixture

from .twins import captured_like_eager

X = (torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).double()
ENUMERATED = TraceEnum_ELBO(max_plate_nesting=1)


def vade(**options):
    program = GaussianMixtureVAE(
        (1, 4, 4), 2, **{"num_components": 3, "hidden": (8,)} | options
    ).double()
    program.prior.logits.data = torch.tensor([0.5, -0.3, 0.2]).double()
    program.prior.log_scale.data = 0.5 * torch.randn(3, 2).double()
    return program


def log_joint(program, z):
    """log p(y) + log p(z | y) of each cluster by scipy, (N, 3)."""
    p = {name: value.detach().numpy() for name, value in program.prior.named_parameters()}
    z = z.detach().numpy()[:, None]
    log_pz = stats.norm(p["loc"], np.exp(p["log_scale"])).logpdf(z).sum(-1)
    return special.log_softmax(p["logits"]) + log_pz


def test_summed_over_clusters_it_is_a_vae_with_a_mixture_prior():
    program = vade()
    twin = VAE((1, 4, 4), 2, prior=GaussianMixture(2, components=3), hidden=(8,)).double()
    twin.load_state_dict(program.state_dict())
    found = []
    for each, loss in ((program, ENUMERATED), (twin, Trace_ELBO())):
        pyro.set_rng_seed(1)
        value = loss.differentiable_loss(each.model, each.guide, X)
        found.append((value, torch.autograd.grad(value, list(each.parameters()))))
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-10)


def test_its_sites_have_the_densities_of_the_paper():
    program = vade()
    guide = poutine.trace(program.guide).get_trace(X)
    model = poutine.trace(poutine.replay(program.model, guide)).get_trace(X)
    for trace in (model, guide):
        trace.compute_log_prob()
    z, y = (guide.nodes[name]["value"] for name in "zy")
    joint, y = log_joint(program, z), y.argmax(-1).numpy()
    rows = np.arange(6)
    log_pyz = model.nodes["y"]["log_prob"] + model.nodes["z"]["log_prob"]
    np.testing.assert_allclose(log_pyz.detach(), joint[rows, y], rtol=1e-10)
    log_qy = joint[rows, y] - special.logsumexp(joint, -1)
    np.testing.assert_allclose(guide.nodes["y"]["log_prob"].detach(), log_qy, rtol=1e-9)
    loc, log_scale = program.encoder(X).detach().unbind(-2)
    log_qz = stats.norm(loc, log_scale.exp()).logpdf(z.detach()).sum(-1)
    np.testing.assert_allclose(guide.nodes["z"]["log_prob"].detach(), log_qz, rtol=1e-10)
    h = program.decoder(z).detach().numpy()
    log_px = -(np.logaddexp(0, h) - X.numpy() * h).sum((1, 2, 3))
    np.testing.assert_allclose(model.nodes["x"]["log_prob"].detach(), log_px, rtol=1e-10)


def test_the_value_of_a_bound_does_not_depend_on_the_cluster_drawn():
    program = vade()
    terms = collect(program.model, program.guide, (X,), {}, num_particles=50)
    y, z = (terms.latents[name] for name in "yz")
    assert (y.z.argmax(-1).amax(0) > y.z.argmax(-1).amin(0)).any()  # clusters differ
    log_pz = special.logsumexp(log_joint(program, z.z.flatten(0, 1)), -1).reshape(50, 6)
    rate = y.log_p + z.log_p - y.log_q
    np.testing.assert_allclose(rate.detach(), log_pz, rtol=1e-9)


def test_the_clusters_of_data_are_those_of_their_codes():
    program = vade(posterior=Delta(2))
    joint = log_joint(program, program.encoder(X))
    np.testing.assert_allclose(
        program.cluster(X, 1).detach(), special.softmax(joint, -1), rtol=1e-9
    )


def test_the_clusters_of_data_are_averaged_over_their_posterior():
    """By quadrature over one latent; four standard errors of a mean of numbers in [0, 1]."""
    program = GaussianMixtureVAE((3,), 1, num_components=2, hidden=(8,)).double()
    x = torch.tensor([[1.0, 0.0, 1.0]]).double()
    loc, log_scale = program.encoder(x)[0].detach()
    z = torch.linspace(-8, 8, 2001).double()[:, None] * log_scale.exp() + loc
    weights = stats.norm(loc, log_scale.exp()).pdf(z)
    exact = (special.softmax(log_joint(program, z), -1) * weights).sum(0) / weights.sum()
    found = program.cluster(x, 10_000)[0].detach()
    np.testing.assert_allclose(found, exact, atol=4 * 0.5 / 10_000**0.5, rtol=0)


def test_a_given_cluster_is_what_is_drawn():
    """Where z is x, draws of a cluster have its mean and scale: four standard errors."""
    program = GaussianMixtureVAE(
        (2,), 2, num_components=3, likelihood=Normal((2,)), decoder=lambda *_: torch.nn.Identity()
    )
    program.prior.log_scale.data = torch.tensor([[0.0, -1.0], [0.5, 0.0], [-0.5, 0.3]])
    for k in range(3):
        y = torch.eye(3)[k].expand(4000, 3)
        z = decode(program, {"y": y}, 4000, (2,))
        loc, scale = program.prior.loc[k], program.prior.log_scale[k].exp()
        assert ((z.mean(0) - loc).abs() < 4 * scale / 4000**0.5).all()
        assert ((z.std(0) / scale - 1).abs() < 4 / 8000**0.5).all()


def test_it_passes_its_preflight_and_the_gradient_reaches_every_parameter():
    program = vade()
    report = check(program, X, ENUMERATED)
    assert [site.name for site in report.sites] == ["y", "z", "x"]
    ENUMERATED.differentiable_loss(program.model, program.guide, X).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in program.parameters())


def test_it_finds_two_clusters_that_are_there():
    truth = torch.arange(200) % 2
    x = torch.where(truth[:, None] == 0, -2.0, 2.0) + 0.3 * torch.randn(200, 4)
    program = GaussianMixtureVAE(
        (4,), 1, num_components=2, likelihood=Normal((4,), scale=0.3), hidden=(16,)
    )
    program.prior.loc.data = torch.tensor([[-1.0], [1.0]])
    optim = pyro.optim.Adam({"lr": 1e-2})
    before = evaluate(program, x).bound.mean()
    fit(program, x, loss=ENUMERATED, optim=optim, steps=200, batch_size=100, progress=False)
    assert evaluate(program, x).bound.mean() > before
    right = (program.cluster(x).argmax(-1) == truth).float().mean()
    assert right < 0.01 or right > 0.99  # either cluster may be either


def test_without_enumeration_a_captured_step_is_the_eager_one():
    captured_like_eager(vade(), Trace_ELBO(), batches=[X])


@pytest.mark.parametrize(
    "part, sentence",
    [
        ({"num_components": 0}, "components must be at least 1"),
        ({"posterior": Delta(3)}, r"latent_dim is \(3,\).*needs \(2,\)"),
        ({"decoder": MLP((3,), (1, 4, 4))}, r"decoder's in_shape is \(3,\).*needs \(2,\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part, sentence):
    with pytest.raises(ValueError, match=sentence):
        vade(**part)
