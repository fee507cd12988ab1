import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from pyro_vae import plots
from pyro_vae.datasets import digits

X = digits(None).test.x  # (300, 1, 8, 8)
RECORDS = [
    {"epoch": e, "step": 10 * e, "train_loss": 9.0 / e, "rate": 1.0, "distortion": 2.0}
    | ({"valid_loss": 10.0 / e} if e % 2 else {})
    for e in range(1, 5)
]
FIGURES = {
    "grid": lambda: plots.grid(X[:7], title="digits"),
    "grid of colours": lambda: plots.grid(X[:4].expand(-1, 3, -1, -1)),
    "grid of a table": lambda: plots.grid(X[:7].flatten(1)),
    "pairs": lambda: plots.pairs(X[:12], X[12:24], title="digits"),
    "pairs of a table": lambda: plots.pairs(X[:3].flatten(1), X[:3].flatten(1)),
    "curves": lambda: plots.curves(RECORDS, title="VAE"),
    "scatter": lambda: plots.scatter(torch.eye(10), torch.arange(10), title="latents"),
    "scatter without labels": lambda: plots.scatter(torch.eye(10)),
    "histogram": lambda: plots.histogram(torch.linspace(-1, 1, 50), torch.arange(50) % 10),
    "histogram without labels": lambda: plots.histogram(torch.zeros(3), title="latents"),
    "manifold": lambda: plots.manifold(X[:9], extent=(-2, 2), title="p(x | z)"),
    "interpolation": lambda: plots.interpolation(X[:12].unflatten(0, (3, 4)), title="ways"),
    "interpolation of a table": lambda: plots.interpolation(torch.eye(8).view(2, 4, 8)),
}


def _pixels(figure):
    return figure.axes[0].images[0].get_array()


def _ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_figures_can_be_saved_and_lie_within_their_borders(draw, tmp_path):
    figure = draw()
    figure.savefig(tmp_path / "figure.png")
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    assert isinstance(figure, Figure) and width <= 5
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_plots_leave_matplotlib_alone():
    with matplotlib.rc_context():
        before = dict(matplotlib.rcParams)
        for draw in FIGURES.values():
            draw()
        assert dict(matplotlib.rcParams) == before


def test_plots_take_tensors_that_need_gradients():
    plots.grid(X[:4].double().requires_grad_())


def test_a_grid_shows_images_in_reading_order():
    shades = torch.arange(4).view(4, 1, 1, 1).expand(4, 1, 28, 28) / 4
    pixels = _pixels(plots.grid(shades))
    assert pixels.shape == (60, 60)  # a gap of one pixel around each image
    assert [pixels[i, j] for i in (15, 45) for j in (15, 45)] == [0, 0.25, 0.5, 0.75]


def test_a_grid_clips_images_and_is_white_where_it_has_none():
    pixels = _pixels(plots.grid(torch.tensor([-3.0, 0.5, 7.0]).view(3, 1, 1, 1), columns=2))
    assert [pixels[i, j] for i in (15, 45) for j in (15, 45)] == [0, 0.5, 1, 1]


def test_a_table_becomes_a_row_an_item():
    table = torch.eye(3, 5)
    assert np.array_equal(_pixels(plots.grid(table)), table.numpy())


def test_pairs_name_their_rows():
    ax = FIGURES["pairs"]().axes[0]
    assert _ticks(ax.yaxis) == ["data", "reconstruction"] * 2  # 12 pairs, ten in a row


def test_a_reconstruction_stands_below_its_datum():
    pixels = _pixels(plots.pairs(torch.zeros(2, 1, 28, 28), torch.ones(2, 1, 28, 28) / 2))
    assert (pixels[15, [15, 45]] == 0).all() and (pixels[45, [15, 45]] == 0.5).all()


def test_curves_have_a_panel_for_losses_and_one_for_rate_and_distortion():
    loss, terms = FIGURES["curves"]().axes
    assert [line.get_label() for line in loss.lines] == ["train loss", "valid loss"]
    assert [line.get_label() for line in terms.lines] == ["rate", "distortion"]
    assert "nats per datum" in loss.get_ylabel() and terms.get_xlabel() == "epoch"


def test_curves_pass_over_epochs_without_a_record():
    valid = FIGURES["curves"]().axes[0].lines[1]
    assert list(valid.get_xdata()) == [1, 3]


def test_curves_count_steps_where_there_are_no_epochs():
    (ax,) = plots.curves([{"step": s, "train_loss": 1.0} for s in range(3)]).axes
    assert ax.get_xlabel() == "step"


def test_a_scatter_gives_each_class_its_colour_and_a_line_of_the_legend():
    ax = plots.scatter(torch.eye(6), torch.tensor([0, 0, 1, 1, 4, 4])).axes[0]
    colors = ax.collections[0].get_facecolor()
    assert len(np.unique(colors, axis=0)) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1", "4"]


@pytest.mark.parametrize("y", [torch.arange(12), torch.linspace(0, 1, 12)])
def test_many_or_real_labels_get_a_colour_bar(y):
    figure = plots.scatter(torch.eye(12), y)
    assert len(figure.axes) == 2 and figure.axes[0].get_legend() is None


def test_a_scatter_shows_the_first_two_coordinates_on_one_scale():
    z = torch.arange(12.0).view(4, 3)
    ax = plots.scatter(z).axes[0]
    assert np.array_equal(ax.collections[0].get_offsets(), z[:, :2]) and ax.get_aspect() == 1
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$z_1$", "$z_2$")


def test_a_manifold_centres_images_on_their_latents():
    shades = torch.arange(9).view(9, 1, 1, 1) / 9
    image = plots.manifold(shades, extent=(-2, 2)).axes[0].images[0]
    assert image.get_extent() == [-3, 3, -3, 3]  # the outer latents are at 2
    pixels = image.get_array()[14::28, 14::28]
    # z_2 rises upwards
    assert pixels[::-1].ravel().tolist() == pytest.approx(shades.flatten().tolist())


def test_an_interpolation_marks_both_ends_as_the_data():
    ax = FIGURES["interpolation"]().axes[0]
    assert _ticks(ax.xaxis) == ["data", "data"]
    assert [patch.get_x() for patch in ax.patches] == [0, 3]


BAD = {
    "no image": (lambda: plots.grid(X[:0]), r"x is \(0, 1, 8, 8\), but expected"),
    "no column": (lambda: plots.grid(X[:4], columns=0), "columns must be at least 1, but is 0"),
    "no pair": (lambda: plots.pairs(X[:2], X[:3]), "one reconstruction of each datum"),
    "no record": (lambda: plots.curves([]), "0 records hold"),
    "no loss": (lambda: plots.curves([{"epoch": 1, "seconds": 2}]), r"\['epoch', 'seconds'\]"),
    "one latent": (lambda: plots.scatter(torch.zeros(5, 1)), r"z is \(5, 1\)"),
    "few labels": (lambda: plots.scatter(torch.eye(5), torch.zeros(4)), r"and y \(4,\)"),
    "no number": (lambda: plots.histogram(torch.full((2,), torch.nan)), "expected finite"),
    "no square": (lambda: plots.manifold(X[:8], extent=(-1, 1)), "got 8"),
    "no extent": (lambda: plots.manifold(X[:4], extent=(1, 1)), r"got 4 and \(1, 1\)"),
    "one step": (lambda: plots.interpolation(X[:3, None]), "2 steps or more"),
}


@pytest.mark.parametrize("draw, sentence", BAD.values(), ids=BAD)
def test_what_cannot_be_shown_is_refused(draw, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw()


def test_pairs_stay_few_enough_to_be_read():
    ax = plots.pairs(X[:200], X[:200]).axes[0]
    assert _ticks(ax.yaxis) == ["data", "reconstruction"] * 5


def test_a_heat_map_says_what_its_colours_are():
    assert FIGURES["grid of a table"]().axes[1].get_ylabel() == "value"


def test_a_scatter_says_what_its_coordinates_are():
    ax = plots.scatter(torch.eye(4), labels=("first", "second")).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("first", "second")


def test_a_histogram_counts_whole_numbers_by_themselves_and_stacks_classes():
    ax = plots.histogram(torch.tensor([0, 0, 1, 3]), torch.tensor([0, 1, 1, 1])).axes[0]
    lower, upper = ([bar.get_height() for bar in bars] for bars in ax.containers)
    assert lower == [1, 0, 0, 0] and upper == [1, 1, 0, 1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1"]
