"""Every lesson runs from top to bottom, and is saved as a reader should find it."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = {
    "01_from_autoencoder_to_vae": """
from pyro_vae.datasets import digits
load, epochs = digits, 1
plane = {"latent_dim": 2, "hidden": (32,)}
space = {"latent_dim": 4, "hidden": (32,)}
num_shown, num_pairs, num_neighbours = 100, 20, 1000
""",
    "02_the_elbo_and_the_truth": """
from pyro_vae.datasets import digits
load, pool = digits, 1
num_images, latent_dim, epochs, num_climbs, wide = 300, 3, 3, 10, 5
num_scored, particles, vae_epochs = 20, (1, 4, 16), 1
""",
    "03_the_gradient_barrier": """
from pyro_vae.datasets import digits
load, num_draws, dims = digits, 20_000, (1, 2, 4)
num_particles, image_particles, repeats, image_repeats = (2, 4), (2, 4), 10, 5
sizes, num_held_out = {"latent_dim": 4, "hidden": (32,)}, 100
warm_up, steps, every, class_steps = 5, 10, 5, 5
""",
    "04_write_your_own_model": """
from pyro_vae.datasets import digits
load, block = partial(digits, binarize=None), 1
latent_dim, hidden, components = 4, 32, 5
steps, batch_size = 60, 100
num_judged, num_particles, num_replicates = 50, 20, 3
""",
    "05_comparing_elbo_estimators": """
from pyro_vae.datasets import digits
load, network = digits, {"latent_dim": 4, "hidden": (32,)}
num_draws, num_weights, particles = 40, 20_000, (1, 16, 64)
warm_up, num_particles, repeats, seeds = 20, (1, 4), 3, (0, 1)
train_steps, num_held_out = 3, 10
""",
}

every_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def troubles(notebook):
    """What was written to stderr, such as warnings, and errors."""
    return [o for o in outputs(notebook) if o.output_type == "error" or o.get("name") == "stderr"]


def parameters(notebook):
    """Where the cells tagged `parameters` are."""
    return [i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", [])]


@every_lesson
def test_a_lesson_runs_with_small_sizes(path, tmp_path):
    notebook = read(path)
    [where] = parameters(notebook)
    notebook.cells.insert(where + 1, nbformat.v4.new_code_cell(SMALL[path.stem]))
    (tmp_path / "images").mkdir()
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": tmp_path}}).execute()
    assert not troubles(notebook)


@every_lesson
def test_a_lesson_is_saved_as_it_ran(path):
    notebook = read(path)
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert not troubles(notebook)


@every_lesson
def test_a_lesson_is_below_1_mb_and_names_no_machines_folders(path):
    assert path.stat().st_size < 1_000_000
    assert not re.findall(r"(?:/home|/root|/tmp|/usr|/work|site-packages)/", path.read_text())


@every_lesson
def test_a_lesson_ends_with_two_exercises(path):
    last = read(path).cells[-1]
    assert last.cell_type == "markdown"
    assert re.findall(r"^\*\*Exercise (\d)\.\*\*", last.source, flags=re.MULTILINE) == ["1", "2"]


@every_lesson
def test_a_lesson_stands_in_the_readme(path):
    assert f"](notebooks/{path.name})" in (ROOT / "README.md").read_text()
