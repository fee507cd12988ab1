"""What each layer of a hierarchy holds: rates, active units, temperatures, traversals."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae import plots
from pyro_vae.inference import IWAE, Trace_ELBO, active_units, evaluate, fit
from pyro_vae.inference.training import line_of_rates
from pyro_vae.models import VAE, HierarchicalVAE

X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Chain(nn.Module):
    """z_2 ~ N(0, 1); z_1 ~ N(z_2, 1); x ~ N(z_1, 1); the guide is apart by known amounts."""

    def __init__(self):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z_2 = pyro.sample("z_2", dist.Normal(self.zero, 1.0))
            z_1 = pyro.sample("z_1", dist.Normal(z_2, 1.0))
            pyro.sample("x", dist.Normal(z_1.unsqueeze(-1), 1.0).expand(x.shape).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z_2 = pyro.sample("z_2", dist.Normal(self.zero + 2.0, 1.0))
            pyro.sample("z_1", dist.Normal(z_2 + x[:, 0], 1.0))


# KL(N(m, 1) || N(0, 1)) = m^2 / 2, whatever z_2 is drawn
RATES = {"z_2": torch.full((50,), 2.0, dtype=torch.float64), "z_1": X[:, 0].square() / 2}


def test_the_rate_of_each_site_is_its_kl():
    found = evaluate(Chain(), X, num_particles=300).rates
    assert list(found) == ["z_2", "z_1"]  # from the top down, as the model draws
    for name, rate in RATES.items():
        error = (2 * rate).sqrt() / math.sqrt(300)  # of log q - log p, whose variance is m^2
        assert ((found[name] - rate).abs() < 4.5 * error + 1e-9).all()


def test_the_rates_of_the_sites_sum_up_to_the_rate():
    found = evaluate(Chain(), X, num_particles=3)
    torch.testing.assert_close(sum(found.rates.values()), found.rate)


def test_a_program_of_one_site_has_its_rate():
    found = evaluate(VAE((1, 4, 4), 2), torch.zeros(5, 1, 4, 4))
    torch.testing.assert_close(found.rates["z"], found.rate)


def vae(depth=2):
    return HierarchicalVAE((6,), (3,) * depth, hidden=(8,))


DATA = torch.rand(40, 6, generator=torch.Generator().manual_seed(0)).round()


@pytest.mark.parametrize("valid", [DATA[:20], None], ids=["validation", "training"])
@pytest.mark.parametrize("loss", [Trace_ELBO(), IWAE(3)], ids=lambda loss: type(loss).__name__)
def test_fit_records_the_rate_of_each_site(valid, loss):
    records = fit(vae(), DATA, loss=loss, epochs=2, valid=valid, progress=False).records
    for record in records:
        assert {"rate of z_2", "rate of z_1"} <= set(record)
        if valid is not None:
            total = record["rate of z_2"] + record["rate of z_1"]
            assert abs(total - record["rate"]) < 1e-4


def test_fit_records_no_rate_of_a_site_where_there_is_one_site():
    records = fit(VAE((6,), 3), DATA, epochs=1, valid=DATA, progress=False).records
    assert not [name for name in records[0] if name.startswith("rate of")]


def test_a_training_does_not_depend_on_the_rates_that_are_recorded(monkeypatch):
    def losses():
        pyro.set_rng_seed(0)
        return [record["train_loss"] for record in fit(vae(), DATA, epochs=3).records]

    with_rates = losses()
    monkeypatch.setattr("pyro_vae.inference.training.epochs.rates_of_training", lambda *args: {})
    assert losses() == with_rates


def rates(depth):
    return {f"rate of z_{i}": 40 / i**2 if i < 4 else 0.0 for i in range(depth, 0, -1)}


def test_the_line_of_rates_has_a_bar_and_a_number_for_each_site():
    line = line_of_rates({"epoch": 1, **rates(4)}, columns=80)
    assert line == "rates: z_4 ▁0.00  z_3 ▂4.44  z_2 ▃10  z_1 █40"


@pytest.mark.parametrize("depth", [2, 5, 10, 20, 60])
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_line_of_rates_fits_the_terminal(depth, columns):
    assert len(line_of_rates(rates(depth), columns=columns)) <= columns


def test_where_names_do_not_fit_the_line_has_the_first_and_the_last():
    assert line_of_rates(rates(15), columns=120).startswith("rates: z_15 to z_1: ▁0.00 ▁0.00 ")


def test_where_numbers_do_not_fit_the_line_has_the_bars():
    assert line_of_rates(rates(20), columns=60) == (
        "rates: z_20 to z_1: ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▂▃█ from 0.00 to 40"
    )


def test_a_record_without_rates_of_sites_has_no_line():
    assert line_of_rates({"epoch": 1, "rate": 3.0}, columns=80) == ""


def test_a_training_on_a_terminal_shows_the_rates_below_its_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fit(vae(), DATA, epochs=2, valid=DATA)
    assert "z_2 " in capsys.readouterr().err.replace("\r", "\n").split("rates: ")[-1]


def records(depth):
    return [{"epoch": e, "train_loss": 9.0 / e, "rate": 3.0, **rates(depth)} for e in (1, 2, 3)]


def test_curves_have_a_panel_for_the_rates_of_few_sites():
    *_, ax = plots.curves(records(5)).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "z_5", "z_4", "z_3", "z_2", "z_1"
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [6, 20, 60])
def test_curves_have_a_row_of_colours_for_each_of_many_sites(depth):
    figure = plots.curves(records(depth))
    ax = figure.axes[2]
    (colours,) = ax.collections
    assert colours.get_array().shape == (depth, 3)
    assert ax.get_yticklabels()[0].get_text() == f"z_{depth}" and ax.yaxis_inverted()
    figure.draw_without_rendering()


def test_rates_that_are_not_finite_leave_their_place_in_the_curves_empty():
    broken = [
        record | {"rate of z_1": torch.nan, "rate of z_2": torch.inf} for record in records(6)
    ]
    (colours,) = plots.curves(broken).axes[2].collections
    assert colours.get_array().mask[-2:].all() and not colours.get_array().mask[:-2].any()


class Columns(nn.Module):
    """z ~ N(0, I) over (2, 2) numbers, whose means given x are known multiples of columns of x."""

    FACTORS = torch.tensor([[1.0, 0.05], [0.0, 0.2]], dtype=torch.float64)

    def __init__(self, noise=0.0):
        super().__init__()
        self.noise = noise
        self.one = nn.Parameter(torch.ones((), dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("w", dist.Normal(self.one, 1.0))
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.FACTORS), 1.0).to_event(2))
            pyro.sample("x", dist.Normal(z.flatten(-2)[..., :3], 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            w = pyro.sample("w", dist.Normal(self.one.expand(len(x)), 1.0))
            loc = self.FACTORS * x[:, :1, None] + self.noise * w[:, None, None]
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(2))


def test_active_units_are_the_numbers_whose_mean_changes_with_the_datum():
    found = evaluate(Columns(), X).active_units
    assert str(found["z"]) == "2 of 4 units active" and str(found["w"]) == "0 of 1 units active"
    expected = (Columns.FACTORS.square() * X[:, 0].var()).flatten()
    torch.testing.assert_close(found["z"].variances, expected)
    assert evaluate(Columns(), X).active_units["z"].active == 2


def test_noise_of_the_latents_above_activates_no_unit():
    """Var_x(E_q[z | x]) is that without noise; a mean of K draws alone would have 1 / K more."""
    program, x = Columns(noise=1.0), X.repeat(40, 1)
    found = active_units(program, x, num_particles=10)["z"].variances
    expected = (Columns.FACTORS.square() * x[:, 0].var()).flatten()
    # 1 / K times that of a sample variance of 2,000 data, and twice the covariance with x
    error = (2 * (0.1**2 + 2 * 0.1 * expected) / 2000).sqrt()
    assert ((found - expected).abs() < 4 * error).all() and error.min() < 0.004


def test_batches_do_not_change_the_active_units():
    one, many = (active_units(Columns(), X, batch_size=size) for size in (50, 7))
    torch.testing.assert_close(one["z"].variances, many["z"].variances)


def test_masked_numbers_count_in_no_variance():
    class Masked(Columns):
        def model(self, x):
            with poutine.mask(mask=x[:, 0] > 0):
                super().model(x)

        def guide(self, x):
            with poutine.mask(mask=x[:, 0] > 0):
                super().guide(x)

    found = active_units(Masked(), X)["z"].variances
    kept = X[X[:, 0] > 0, 0]
    torch.testing.assert_close(found, (Columns.FACTORS.square() * kept.var()).flatten())


def test_a_datum_alone_has_no_active_units():
    assert not evaluate(Chain(), X[:1]).active_units
