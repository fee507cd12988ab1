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
SEQUENCES = torch.linspace(0, 1, 480).view(8, 20, 3)  # 20 steps of 3 numbers
LONG = "TraceMeanField_ELBO(vectorize_particles=True, beta=linear(0, 1, steps=10_000))"
NAMES = [LONG, "Trace_ELBO(vectorize_particles=True)", "IWAE", "DReG", "x" * 90, *"abcdef"]
LINES = {name: [(1, i + 1.0), (50, 2.0 * i + 1)] for i, name in enumerate(NAMES)}
Y = torch.arange(40)
Z = torch.stack([Y.sin(), Y.cos()], 1)
FIGURES = {
    "grid of one": lambda: plots.grid(
        X[:1], title="a title that is far longer than one picture is"
    ),
    "grid of names": lambda: plots.grid(
        X[:60], columns=6, row_labels=[f"$y = {i}$" for i in range(10)], column_labels="abcdef"
    ),
    "grid of many names": lambda: plots.grid(
        X[:200], columns=2, row_labels=[f"class {i}" for i in range(100)]
    ),
    "grid of narrow names": lambda: plots.grid(
        X[:24], columns=12, column_labels=["data", *(f"{i / 4:+g}" for i in range(11))]
    ),
    "grid of tall images": lambda: plots.grid(torch.rand(9, 1, 64, 4)),
    "grid of wide images": lambda: plots.grid(torch.rand(9, 1, 4, 64)),
    "grid of one grey": lambda: plots.grid(torch.ones(4, 1, 8, 8) / 2),
    "grid of five channels": lambda: plots.grid(torch.rand(4, 5, 8, 8)),
    "grid of nothing known": lambda: plots.grid(torch.full((4, 3, 8, 8), torch.nan)),
    "grid of sequences": lambda: plots.grid(SEQUENCES, title="sequences"),
    "grid of one number": lambda: plots.grid(torch.zeros(1, 1)),
    "grid of a named table": lambda: plots.grid(
        torch.eye(20), columns=4, row_labels=[f"y = {i}" for i in range(5)]
    ),
    "pairs of one": lambda: plots.pairs(X[:1], X[:1]),
    "pairs of sequences": lambda: plots.pairs(SEQUENCES, SEQUENCES),
    "pairs of a wide table": lambda: plots.pairs(torch.eye(300)[:12], torch.eye(300)[:12]),
    "curves of one epoch": lambda: plots.curves(RECORDS[:1]),
    "curves of no finite value": lambda: plots.curves([{"step": 1, "train_loss": torch.nan}] * 2),
    "scatter of one point": lambda: plots.scatter(Z[:1], Y[:1]),
    "scatter of principal components": lambda: plots.scatter(
        Z, Y % 10, labels=("first principal component", "second principal component"), title=LONG
    ),
    "scatter of missing labels": lambda: plots.scatter(1000 * Z, Y - 1),
    "histogram of missing labels": lambda: plots.histogram(Z[:, 0], Y % 3 - 1, title=LONG),
    "manifold of colours": lambda: plots.manifold(torch.rand(9, 3, 6, 12), extent=(-2, 2)),
    "manifold of a table": lambda: plots.manifold(torch.eye(9), extent=(-2, 2)),
    "manifold of one": lambda: plots.manifold(X[:1], extent=(-2, 2)),
    "manifold of sequences": lambda: plots.manifold(SEQUENCES[:4], extent=(-2, 2), title="x"),
    "interpolation of many rows": lambda: plots.interpolation(X[:120].unflatten(0, (60, 2))),
    "interpolation of sequences": lambda: plots.interpolation(SEQUENCES.unflatten(0, (2, 4))),
    "snr of long names": lambda: plots.snr({"guide": LINES, "model": LINES}, title=LONG),
    "variance at one K": lambda: plots.gradient_variance({"guide": {"IWAE": [(1, 2.0)]}}),
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
    box = figure.get_tightbbox()  # of what is drawn, titles and legends included
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


def test_one_epoch_is_shown_as_points_off_the_corners():
    loss, terms = plots.curves(RECORDS[:1]).axes
    assert terms.get_xticks().tolist() == [1] and terms.get_xlim() == (0, 2)
    assert all(line.get_markersize() > 4 for line in loss.lines)
    low, high = loss.get_ylim()
    assert low < 9 and high > 10


def test_the_first_losses_do_not_press_the_others_onto_one_line():
    records = [{"step": s, "train_loss": 1e6 if s == 0 else 100 - s} for s in range(40)]
    (ax,) = plots.curves(records).axes
    assert ax.get_ylim()[1] < 200
    assert [text.get_text() for text in ax.texts] == ["not shown: first values to 1e+06"]


def test_losses_that_fall_slowly_are_shown_from_the_first():
    records = [{"step": s, "train_loss": 100 - s} for s in range(40)]
    (ax,) = plots.curves(records).axes
    assert ax.get_ylim()[1] >= 100 and not ax.texts


def test_curves_mark_where_a_loss_was_not_finite():
    losses = [3.0, torch.nan, 1.0, torch.inf]
    (ax,) = plots.curves([{"step": s, "train_loss": v} for s, v in enumerate(losses)]).axes
    assert [list(line.get_xdata()) for line in ax.lines] == [[0, 1, 2, 3], [1, 3]]
    assert ax.lines[1].get_label() == "not finite"


def test_data_without_a_label_are_grey_and_no_class():
    ax = plots.scatter(Z[:11], Y[:11] - 1).axes[0]  # ten classes, and one datum without
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*"0123456789", "none"]
    first = ax.collections[0].get_facecolor()[0, :3]
    assert np.ptp(first) == 0
    bars = plots.histogram(Z[:11, 0], Y[:11] - 1).axes[0]
    assert bars.get_legend().get_texts()[-1].get_text() == "none"


def test_many_classes_leave_data_without_a_label_out_of_the_colours():
    figure = plots.scatter(Z, Y - 1)
    grey, colored = figure.axes[0].collections
    assert len(grey.get_offsets()) == 1 and colored.get_clim() == (0, 38)
    assert figure.axes[1].get_ylabel() == "label (grey: none)"


@pytest.mark.parametrize("low, high", [(0.011, 0.99), (0.2, 0.9), (1.0, 1.1), (1e-5, 3e-5)])
def test_a_log_axis_has_two_numbers_at_least(low, high):
    for figure in (plots.snr, plots.gradient_variance):
        ax = figure({"guide": {"IWAE": [(1, low), (2, high)]}}).axes[0]
        bottom, top = ax.get_ylim()
        assert sum(bottom <= tick <= top for tick in ax.get_yticks()) >= 2


def test_a_legend_has_each_estimators_whole_name():
    (legend,) = plots.snr({"guide": LINES}).legends
    assert ["".join(text.get_text().split()) for text in legend.get_texts()] == [
        "".join(name.split()) for name in NAMES
    ]


def test_a_formula_is_never_broken_between_lines():
    title = r"means of $p(x \mid z, y)$ where $z \sim p(z)$ is a draw"
    figure = plots.grid(X[:1], title=title)
    assert all(line.count("$") % 2 == 0 for line in figure.get_suptitle().split("\n"))
    assert figure.get_suptitle().replace("\n", " ") == title


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
    pixels = image.get_array()[15::30, 15::30]
    # z_2 rises upwards
    assert pixels[::-1].ravel().tolist() == pytest.approx(shades.flatten().tolist())


def test_a_manifolds_images_stand_apart():
    pixels = plots.manifold(torch.zeros(4, 1, 8, 8), extent=(-2, 2)).axes[0].images[0].get_array()
    edges = pixels.shape[0] // 2 + np.array([-1, 0])
    assert (pixels[edges] == 1).all() and (pixels[:, edges] == 1).all() and pixels.min() == 0


def test_a_manifold_says_what_its_latents_are():
    ax = plots.manifold(X[:4], extent=(-1, 1), labels=("$u_1$", "$u_2$")).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$u_1$", "$u_2$")


def test_rows_and_columns_of_a_grid_have_names():
    ax = plots.grid(X[:6], columns=3, row_labels=["y = 0", "y = 1"], column_labels="abc").axes[0]
    assert _ticks(ax.yaxis) == ["y = 0", "y = 1"] and _ticks(ax.xaxis) == ["a", "b", "c"]
    assert ax.get_yticks().tolist() == [0.5, 1.5]  # rows are one unit high


def test_a_name_of_a_heat_map_stands_beside_the_middle_of_its_items():
    ax = plots.grid(torch.eye(6), columns=3, row_labels=["y = 0", "y = 1"]).axes[0]
    assert ax.get_yticks().tolist() == [1, 4] and _ticks(ax.yaxis) == ["y = 0", "y = 1"]


def test_levels_say_which_values_are_black_and_white():
    figure = plots.grid(torch.tensor([0.0, 8, 16, 20]).view(4, 1, 1, 1), levels=(0, 16))
    assert [_pixels(figure)[i, j] for i in (15, 45) for j in (15, 45)] == [0, 0.5, 1, 1]
    assert figure.axes[0].get_xlabel() == "black: 0, white: 16"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_missing_pixel_is_no_grey_level_and_is_explained(channels):
    x = torch.full((1, channels, 28, 28), torch.nan)
    x[..., :14] = 0.5
    figure = plots.grid(x)
    pixels = _pixels(figure)
    assert pixels[15, 5].tolist() == pytest.approx([0.5] * 3)
    assert np.ptp(pixels[15, 20]) > 0.2
    assert figure.axes[0].get_xlabel() == "blue: missing"


def test_the_steps_of_a_sequence_go_to_the_right_and_its_numbers_down():
    x = torch.zeros(1, 4, 2)  # 4 steps of 2 numbers
    x[0, 3, 0] = 1.0
    figure = plots.grid(x)
    pixels = _pixels(figure)
    high, wide = (np.array(pixels.shape[:2]) / [2, 4]).astype(int)
    cells = pixels[high // 2 :: high, wide // 2 :: wide].mean(-1)
    assert cells.shape == (2, 4) and np.unique(cells).size == 2
    assert cells[0, 3] == cells.max() and (cells == cells.max()).sum() == 1
    assert figure.axes[0].get_xlabel() == "steps to the right"
    assert figure.axes[1].get_ylabel() == "value"


def test_the_pixels_of_a_picture_with_other_channels_keep_their_place():
    x = torch.zeros(1, 2, 4, 4)  # two channels, side by side
    x[0, 1, 0, 3] = 1.0  # the last one's upper right corner
    pixels = _pixels(plots.grid(x)).mean(-1)[1:-1, 1:-1]
    assert pixels[3, -2] == pixels.max() and pixels[-2, 1] == pixels.min()


def test_a_row_of_numbers_keeps_its_order_in_a_manifold():
    figure = plots.manifold(torch.linspace(0, 1, 4)[None], extent=(-1, 1))
    middle = _pixels(figure)[15, 1:-1].mean(-1)
    assert (np.diff(middle) >= 0).all() and middle[0] < middle[-1]


def test_pairs_of_a_table_share_one_scale_and_leave_out_what_is_missing():
    x = torch.tensor([[0.0, torch.nan], [1.0, torch.inf]])
    figure = plots.pairs(x, torch.tensor([[5.0, 2.0], [3.0, 4.0]]))
    data, reconstruction, bar = figure.axes
    assert [ax.get_title() for ax in (data, reconstruction)] == ["data", "reconstruction"]
    assert {ax.images[0].get_clim() for ax in (data, reconstruction)} == {(0, 5)}
    assert np.ma.getmaskarray(data.images[0].get_array())[:, 1].all()
    assert bar.get_ylabel() == "value (blue: missing)"


def test_ways_between_rows_of_numbers_are_heat_maps_from_data_to_data():
    x = torch.arange(12.0).view(2, 3, 2)
    first, second, _ = plots.interpolation(x).axes
    assert np.array_equal(first.images[0].get_array(), x[0])
    assert np.array_equal(second.images[0].get_array(), x[1])
    assert _ticks(first.yaxis) == ["data", "", "data"]


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
    "no point": (lambda: plots.scatter(torch.zeros(0, 2)), r"z is \(0, 2\)"),
    "no place": (lambda: plots.scatter(torch.full((3, 2), torch.nan)), "3 of 3 latents are not fi"),
    "too few names": (
        lambda: plots.grid(X[:6], columns=2, row_labels=["a"]),
        "row_labels has 1 texts, but there are 3 to label",
    ),
    "levels": (lambda: plots.grid(X[:2], levels=(1, 0)), r"levels are black's and white's"),
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


def test_rates_stand_beside_each_other_and_say_their_numbers():
    found = {"ladder": {"z_2": 5.0, "z_1": 9.0}, "none": {"z_2": 0.0, "z_1": 12.0}}
    ax = plots.rates(found).axes[0]
    heights = [[bar.get_height() for bar in bars] for bars in ax.containers]
    assert heights == [[5.0, 9.0], [0.0, 12.0]]
    assert [text.get_text() for text in ax.texts] == ["5.00", "9.00", "0.00", "12.00"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["z_2", "z_1"]
    with pytest.raises(ValueError, match="must be the same of each program"):
        plots.rates({**found, "other": {"z_1": 1.0}})
