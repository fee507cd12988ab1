"""Every lesson runs from top to bottom, and is saved as a reader should find it."""

import ast
import builtins
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = ROOT / "notebooks" / "solutions"
# What the text says of the numbers, whichever digits they come from.
CLAIMS = {
    "01_from_autoencoder_to_vae": """
def inside(z):
    return (z.norm(dim=1) < 2).float().mean()

assert inside(points) < inside(clouds) - 0.3
assert encode(wide_vae, x)["z"].std(0).max() < 1.3 < encode(wide_ae, x)["z"].std(0).min()
assert rises[0].mean() > rises[1].mean() and worse.float().mean() > 0.5
""",
    "02_the_elbo_and_the_truth": """
at_the_top = rows["columns of W\\nat the top"]
assert torch.nn.functional.cosine_similarity(at_the_top, axes_of).abs().min() > 0.99
assert len(set(counts)) == 1 and better > 3 * error
""",
    "03_the_gradient_barrier": """
noise = {name: row.guide.variance for name, row in first.items()}
assert noise["score function"] > 5 * noise["moving average"] > 10 * noise["leave-one-out"]
assert noise["leave-one-out"] > noise["reparameterized"]
ends = {name: curve[-1][1] for name, curve in curves.items()}
assert ends["score function"] < ends["moving average"] < ends["leave-one-out"]
assert ends["leave-one-out"] < ends["reparameterized"] + 0.5
""",
    "04_write_your_own_model": """
means = [log_px[name].mean() for name in ("Poisson", "Binomial", "Beta-Binomial")]
assert means == sorted(means)
assert log_px["label given"].mean() > log_px["with a mixture prior"].mean() > means[-1]
rates = [evaluate(each, x).rate.mean() for each in (third, first, second)]
assert rates == sorted(rates)
""",
    "05_comparing_elbo_estimators": """
assert abs(gaps[-1][0] * particles[-1] - variance / 2) < 5 * gaps[-1][1] * particles[-1]
K = num_particles[-1]
snr = {row.estimator: row.guide.snr for row in comparison.rows if row.num_particles == K}
assert snr["IWAE"] < snr["DReG"] and snr["IWAE"] < snr["Renyi, 0.5"] < snr["Trace_ELBO"]
""",
}

# And of those of the solutions, where they assert nothing themselves.
CLAIMS_OF_SOLUTIONS = {
    "01_from_autoencoder_to_vae": """
assert distances["autoencoder, fitted"] < distances["autoencoder, $N(0, I)$"]
assert same.std(0).max() < 0.03
""",
    "02_the_elbo_and_the_truth": """
assert survivors == 3 and (found_sizes[:3] - predicted_sizes).abs().max() < 0.1
assert abs(found_elbo - maximum) < 1e-2 and found_gap < 1e-2 and cosines(full).min() < 0.9
assert angles.min() > 0.999
""",
    "04_write_your_own_model": """
assert right > 0.8 and log_px["labels summed"].mean() > log_px["Beta-Binomial"].mean()
""",
}

every_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
every_notebook = pytest.mark.parametrize(
    "path",
    [*LESSONS, *sorted(SOLUTIONS.glob("*.ipynb"))],
    ids=lambda path: f"{path.parent.stem}-{path.stem}",
)


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def troubles(notebook):
    """What was written to stderr, such as warnings, and errors."""
    return [o for o in outputs(notebook) if o.output_type == "error" or o.get("name") == "stderr"]


def exercises(cell):
    return re.findall(r"^\*\*Exercise (\d)\.\*\*", cell.source, flags=re.MULTILINE)


def parameters(notebook):
    """Where the cells tagged `parameters` are."""
    return [i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", [])]


def names(cells, context):
    """The names that cells read, or those that they make."""
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell.source))]
    found = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, context)}
    if context is ast.Store:
        found |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        found |= {n.arg for n in nodes if isinstance(n, ast.arg)}
        found |= {n.asname or n.name for n in nodes if isinstance(n, ast.alias)}
    return found


def run(path, more, claims, folder):
    """Runs a lesson, more cells and what is claimed of all, where nothing can be downloaded."""
    notebook = read(path)
    notebook.cells += [*more, nbformat.v4.new_code_cell(claims)]
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
    assert not troubles(notebook)
    assert not list(folder.iterdir())  # neither data nor the README's pictures


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty folder, in which data are looked for."""
    monkeypatch.setenv("NO_DOWNLOAD", "1")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path


@every_lesson
def test_a_lesson_runs_without_a_download_as_it_says(path, offline):
    assert len(parameters(read(path))) == 1
    run(path, [], CLAIMS[path.stem], offline)


@pytest.mark.slow  # the names that solutions take from lessons are checked below
@every_lesson
def test_solutions_run_without_a_download_as_they_say(path, offline):
    _, _, *solutions = read(SOLUTIONS / path.name).cells
    run(path, solutions, CLAIMS_OF_SOLUTIONS.get(path.stem, ""), offline)


@every_lesson
def test_solutions_start_from_the_lesson_and_use_the_names_that_it_makes(path):
    lesson, *solutions = code(read(SOLUTIONS / path.name))
    assert f"%run ../{path.name}" in lesson.source
    first, *others = code(read(path))
    first.source = first.source.replace("%matplotlib inline", "")
    made = names([first, *others, *solutions], ast.Store) | set(dir(builtins))
    assert names(solutions, ast.Load) - made == set()


@every_notebook
def test_a_lesson_is_saved_as_it_ran(path):
    notebook = read(path)
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not troubles(notebook)


@every_lesson
def test_a_lesson_shows_pictures(path):
    assert any("image/png" in output.get("data", {}) for output in outputs(read(path)))


@every_notebook
def test_a_lesson_is_below_1_mb_and_names_no_machines_folders(path):
    assert path.stat().st_size < 1_000_000
    assert not re.findall(r"(?:/home|/root|/tmp|/usr|/work|site-packages)/", path.read_text())


@every_lesson
def test_a_lesson_ends_with_two_exercises(path):
    last = read(path).cells[-1]
    assert last.cell_type == "markdown"
    assert exercises(last) == ["1", "2"]
    assert f"](solutions/{path.name})" in last.source


@every_lesson
def test_each_exercise_has_its_solution(path):
    solved = [exercises(cell) for cell in read(SOLUTIONS / path.name).cells]
    assert sum(solved, []) == ["1", "2"]


@every_lesson
def test_a_lesson_stands_on_the_page_of_lessons(path):
    assert f"](../notebooks/{path.name})" in (ROOT / "docs" / "lessons.md").read_text()
