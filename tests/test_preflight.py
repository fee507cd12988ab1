"""The pre-flight: what it shows, and a sentence for each thing that would go wrong."""

from functools import partial
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.testing.fakes import NonreparameterizedNormal
from torch import nn

from pyro_vae import check
from pyro_vae.inference import Trace_ELBO, TraceMeanField_ELBO, linear
from pyro_vae.likelihoods import Mixed, Normal
from pyro_vae.models import VAE, ConditionalVAE
from pyro_vae.networks import ZeroImputed

X = (torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()
ROWS = X.flatten(1)


@pytest.fixture
def parts():
    """A right model and guide, and the pieces to make wrong ones of."""
    encoder, decoder = nn.Linear(64, 4), nn.Linear(2, 64)

    def model(x, latent="z", latent_dim=2, observe=True, to_event=1, obs=None):
        with pyro.plate("data", len(x)):
            z = pyro.sample(latent, dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1))
            p = dist.Bernoulli(logits=decoder(z[..., :2])).to_event(to_event)
            pyro.sample("x", p, obs=(x if obs is None else obs) if observe else None)

    def guide(x, latent="z", detach=False, plate=True, q=dist.Normal):
        h = encoder(x)
        loc, scale = (h.detach() if detach else h).chunk(2, -1)
        with pyro.plate("data", len(x)) if plate else torch.enable_grad():
            pyro.sample(latent, q(loc, scale.exp()).to_event(1))

    return SimpleNamespace(model=model, guide=guide, encoder=encoder, decoder=decoder)


def program(parts, changes):
    return SimpleNamespace(
        model=lambda x: parts.model(x, **changes.get("model", {})),
        guide=lambda x: parts.guide(x, **changes.get("guide", {})),
    )


def test_the_report_tells_each_site_its_distributions_shapes_and_plates():
    report = check(VAE((1, 8, 8), latent_dim=3), X)
    assert report.rows() == [
        ("z", "latent", "Normal", "Normal", "(16,)", "(3,)", "data (16)", "yes"),
        ("x", "observed", "Bernoulli", "-", "(16,)", "(1, 8, 8)", "data (16)", "-"),
    ]
    assert "55,670 parameters" in str(report)


def test_the_loss_is_per_datum_and_takes_schedules():
    loss = TraceMeanField_ELBO(beta=linear(0, 1, 10))
    report = check(VAE((1, 8, 8), latent_dim=3), X, loss)
    assert 20 < report.loss < 64 * 0.7 + 10  # 64 log 2 = 44 at the start


def test_nothing_is_changed():
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.Unflatten(1, (2, 3))
    )
    vae = VAE((1, 8, 8), latent_dim=3, encoder=encoder)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    state = torch.get_rng_state()
    check(vae, X)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert all(p.grad is None for p in vae.parameters()) and encoder.training


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"guide": {"latent": "w"}}, r"guide has no site 'z', which the model samples; add"),
        ({"model": {"observe": False}}, r"guide has no site 'x'.*obs="),
        ({"model": {"latent_dim": 3}}, r"'z' has event shape \(3,\) in the model but \(2,\)"),
        ({"guide": {"plate": False}}, r"'z' of the guide.*plates are none.*pyro.plate"),
        ({"model": {"to_event": 0}}, r"model fails on data.*plate"),
        ({"guide": {"detach": True}}, r"parameter 'encoder.weight' gets no gradient.*detach"),
        (
            {"model": {"obs": ROWS + 2}},
            r"'x' of the model holds [23], outside the support of its B",
        ),
        ({"model": {"obs": ROWS / 2}}, r"holds 0.5, outside.*binarize='dynamic'.*Normal"),
        ({"model": {"obs": ROWS[:, :8]}}, r"event shape \(8,\), but its distribution is over \(64"),
        ({"guide": {"q": dist.Laplace}, "model": {"latent": "u"}}, r"no site 'u'"),
    ],
    ids=lambda changes: str(changes)[:50],
)
def test_a_wrong_program_gets_a_sentence_that_says_what_to_do(parts, changes, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        check(program(parts, changes), ROWS)
    assert "\n" not in str(caught.value)


def test_a_latent_that_only_the_guide_has_is_named(parts):
    def guide(x):
        parts.guide(x)
        pyro.sample("w", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"guide samples 'w', but the model does not"):
        check(SimpleNamespace(model=parts.model, guide=guide), ROWS)


def test_an_estimator_that_does_not_fit_is_refused(parts):
    def guide(x):
        with pyro.plate("data", len(x)):
            loc = parts.encoder(x)[:, :2]
            pyro.sample("z", NonreparameterizedNormal(loc, 1.0).to_event(1))

    drawn = SimpleNamespace(model=parts.model, guide=guide)
    assert [site.reparameterized for site in check(drawn, ROWS).sites] == [False, None]
    with pytest.raises(ValueError, match=r"TraceMeanField_ELBO.*reparameterized.*use Trace_ELBO"):
        check(drawn, ROWS, TraceMeanField_ELBO())


def test_densities_of_two_kinds_are_refused(parts):
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.OneHotCategorical(logits=parts.encoder(x)[:, :2]))

    with pytest.raises(ValueError, match=r"'z' has real values.*Normal.*one-hot ones in the guide"):
        check(SimpleNamespace(model=parts.model, guide=guide), ROWS)


def test_data_with_missing_entries_pass_where_the_likelihood_takes_them():
    x = torch.randn(16, 3)
    x[::2, 1] = torch.nan
    vae = partial(VAE, (3,), 2, encoder=ZeroImputed, hidden=(8,))
    check(vae(likelihood=Mixed((3,))), x)
    with pytest.raises(ValueError, match="8 NaN or infinite"):
        check(vae(likelihood=Normal((3,))), x)


def test_labels_are_given_to_who_takes_them():
    x, y = (torch.rand(16, 1, 4, 4) < 0.5).float(), torch.arange(16) % 3
    check(ConditionalVAE((1, 4, 4), 2, num_classes=3), x, y=y)
    with pytest.raises(ValueError, match=r"model\(x, y\), so it needs labels"):
        check(ConditionalVAE((1, 4, 4), 2, num_classes=3), x)
    with pytest.raises(ValueError, match=r"model\(x\), so it takes no labels"):
        check(VAE((1, 4, 4), 2), x, y=y)


def test_grey_data_under_a_bernoulli_are_refused():
    with pytest.raises(ValueError, match=r"binarize.*ContinuousBernoulli or Normal"):
        check(VAE((1, 8, 8)), torch.rand(16, 1, 8, 8))


def test_data_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"guide fails on data of shape \(16, 1, 9, 8\)"):
        check(VAE((1, 8, 8)), torch.zeros(16, 1, 9, 8))


def test_data_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        check(VAE((1, 8, 8)), torch.full((16, 1, 8, 8), torch.nan))


def test_a_program_without_a_guide_is_refused(parts):
    with pytest.raises(TypeError, match="has no guide"):
        check(SimpleNamespace(model=parts.model), ROWS)


def test_any_error_of_a_users_code_is_one_sentence(parts):
    def guide(x):
        return {}["missing"]

    with pytest.raises(ValueError, match=r"guide fails.*KeyError\('missing'\)"):
        check(SimpleNamespace(model=parts.model, guide=guide), ROWS)


def test_a_buffer_into_which_nothing_can_be_loaded_is_named(parts):
    parts.decoder.register_buffer("scales", torch.ones(1).expand(3))
    with pytest.raises(ValueError, match=r"buffer 'decoder.scales' is a view made by expand\(\)"):
        check(program(parts, {}), ROWS)
    parts.decoder.register_buffer("scales", torch.ones(1).expand(3).clone())
    assert check(program(parts, {}), ROWS)


def test_a_frozen_parameter_needs_no_gradient(parts):
    for parameter in parts.encoder.parameters():
        parameter.requires_grad_(False)
    found = check(SimpleNamespace(model=parts.model, guide=parts.guide), ROWS)
    assert set(found.parameters) == {"decoder.weight", "decoder.bias"}


def test_data_that_to_event_takes_out_of_their_plate_are_refused(parts):
    with pytest.raises(ValueError, match=r"'x' stands in plate data \(16\).*use .to_event\(1\)"):
        check(program(parts, {"model": {"to_event": 2}}), ROWS)


def test_data_without_to_event_are_told_of_it(parts):
    with pytest.raises(ValueError, match=r"plate.*declare the dim.*\.to_event\(n\)"):
        check(program(parts, {"model": {"to_event": 0}}), ROWS)


def test_estimators_of_ours_need_a_plate_for_the_data(parts):
    def no_plate(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(2))
        pyro.sample("x", dist.Bernoulli(logits=parts.decoder(z)).to_event(2), obs=x)

    def guide(x):
        loc, scale = parts.encoder(x).chunk(2, -1)
        pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(2))

    joint = SimpleNamespace(model=no_plate, guide=guide)
    with pytest.raises(ValueError, match=r"16 data stand in no plate.*put the data in pyro.plate"):
        check(joint, ROWS, Trace_ELBO())
    check(joint, ROWS[:1], Trace_ELBO())
    check(joint, ROWS, pyro.infer.Trace_ELBO())


@pytest.mark.parametrize("options", [{}, {"subsample_size": 4}], ids=["whole", "subsample"])
def test_global_latents_and_subsampled_plates_pass_and_are_counted_right(options):
    loc = nn.Parameter(torch.zeros(()))

    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), **options) as i:
            pyro.sample("x", dist.Normal(0 * mu, 1.0).expand([64]).to_event(1), obs=x[i])

    def guide(x):
        pyro.sample("mu", dist.Normal(loc, 1.0))

    report = check(SimpleNamespace(model=model, guide=guide), torch.zeros(16, 64), Trace_ELBO())
    assert report.loss == pytest.approx(64 * 0.918939, rel=1e-3)


def test_the_loss_of_a_plate_beyond_the_batch_is_per_datum():
    logits = nn.Parameter(torch.zeros(64))

    def model(x):
        with pyro.plate("data", 4000, subsample=torch.arange(len(x))):
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    report = check(SimpleNamespace(model=model, guide=lambda x: None), ROWS, Trace_ELBO())
    assert report.loss == pytest.approx(64 * 0.693147, rel=1e-4)


def test_a_class_for_a_loss_is_refused(parts):
    with pytest.raises(TypeError, match=r"write Trace_ELBO\(\)"):
        check(program(parts, {}), ROWS, Trace_ELBO)


def test_it_needs_no_gradients_turned_on(parts):
    with torch.no_grad():
        assert len(check(program(parts, {}), ROWS).parameters) == 4


def test_a_schedule_that_fails_is_one_sentence(parts):
    def beta(step):
        raise KeyError("beta")

    with pytest.raises(ValueError, match=r"Trace_ELBO does not fit this program: KeyError"):
        check(program(parts, {}), ROWS, Trace_ELBO(beta=beta))


def test_parameters_of_pyro_param_go_by_their_names(parts):
    def model(x):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.zeros(64), scale).to_event(1), obs=x)

    found = check(SimpleNamespace(model=model, guide=lambda x: None), ROWS)
    assert set(found.parameters) == {"scale"}
