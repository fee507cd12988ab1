"""The README and its pages are true: code runs, commands are understood, tables are complete."""

import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest
import typer

from pyro_vae import datasets
from pyro_vae.app import cli
from pyro_vae.app.catalogue import catalogue
from pyro_vae.app.prepare import known_from
from pyro_vae.app.text import read_loss, read_program
from pyro_vae.source import load_file

ROOT = Path(__file__).parent.parent
README, *DOCS = PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("**/*.ipynb"))
TEXT = "\n".join(page.read_text() for page in PAGES)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def files(page):
    """The blocks that are files, by the names in their first lines."""
    named = {re.match(r"# (\w+\.py)\n", block): block for block in blocks(page)}
    return {match[1]: block for match, block in named.items() if match}


def loose(page):
    """The blocks that are no files, in their order."""
    return [block for block in blocks(page) if block not in files(page).values()]


def commands(page):
    """The command lines, in blocks and in the text."""
    text = page.read_text()
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))
    lines = {line for line in shell.splitlines() if line.startswith("pyro-vae")}
    return sorted(lines | set(re.findall(r"`(pyro-vae (?!VERB)[^`]*)`", text)))


TESTS = [
    (page, name, test)
    for page in PAGES
    for name, block in files(page).items()
    for test in re.findall(r"^def (test_\w+)\(", block, flags=re.MULTILINE)
]
COMMANDS = [(page, command) for page in PAGES for command in commands(page)]
FUNCTIONS = [
    (page, name)
    for page in PAGES
    for name, block in files(page).items()
    if re.search(r"^def guide", block, flags=re.MULTILINE)
]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes the files of a page into an empty folder, where code can import them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(page):
        for name, block in files(page).items():
            (tmp_path / name).write_text(block)
            monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
        return tmp_path

    return write


def rows(header):
    """The names in the first column of the one table with this header."""
    pattern = rf"^\| {header} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)"
    (table,) = re.findall(pattern, TEXT, flags=re.MULTILINE)
    names = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert len(set(names)) == len(names)
    return set(names)


@pytest.mark.parametrize(
    "header, kind",
    [
        ("model", "programs"),
        ("prior", "priors"),
        ("posterior", "posteriors"),
        ("likelihood", "likelihoods"),
        ("network", "networks"),
        ("data", "data"),
    ],
)
def test_a_table_lists_what_there_is(header, kind):
    assert rows(header) == set(catalogue()[kind])


def test_the_table_of_estimators_lists_ours():
    losses = catalogue()["losses"].items()
    assert rows("estimator") == {n for n, loss in losses if loss.__module__.startswith("pyro_vae")}


def test_the_table_of_verbs_lists_the_commands():
    assert rows("verb") == set(typer.main.get_command(cli.app).commands)


# What the text says of the numbers that its code computes.
CLAIMS = {
    "anomalies": """
assert scores.shape == (300,) and roc(scores, test.y == 0).num_anomalies == (test.y == 0).sum()
""",
    "adversaries": """
assert not estimator.is_bound and "loss" in repr(training)
assert sharpness(samples).shape == (300,) and diversity(samples) > 0
""",
    "collapse": """
assert told.mutual_information <= told.cap and told.num_data == 100
assert alone.num_data == 50 and rate > 0 and 0 <= units <= 4
assert steps_of_the_guide >= 60
""",
    "disentanglement": """
assert 0 <= float(gap) <= 1 and len(codes.values) == len(data.test) and codes.factors.shape[1] == 5
""",
    "explain": """
assert abs(explanation.bound.mean() - first.value.mean()) > 1 and len(figure.axes) == 1
assert first.value.shape == (300,)
""",
    "hierarchies": "assert names == [*(f'z_{i}' for i in range(6, 0, -1)), 'x']",
    "representations": """
assert right.shape == voted.shape == (300,) and right.mean() > 0.8 and voted.mean() > 0.8
""",
    "README": "assert images.shape == (64, 1, 8, 8)",
    "write-your-own-model": """
assert bound.shape == log_px.shape == (300,) and log_px.mean() > bound.mean()
assert images.shape == (64, 1, 8, 8)
""",
    "codes": """
uniform, learned = (evaluate(p, data.test.x).bound.mean() for p in (vqvae, program))
assert learned > uniform
""",
    "diffusion": """
assert (after.bound - before.bound).mean() > 0.5
assert abs((same.bound - after.bound).mean()) < 1 and images.shape == (64, 1, 8, 8)
assert log_px.mean() > after.bound[:20].mean()
""",
    "data": """
assert data.vocabulary.text(data.train.x[0]) == "zesevese"
assert data.vocabulary.ids("zeta") == [14, 2, 8, 1, 0]
""",
    "missing": """
assert not found.x.isnan().any() and found.draws.shape == (5, 20, 1, 8, 8)
assert set(found.x.unique().tolist()) == {0, 1}
""",
    "molecules": """
assert (valid_share(drawn), uniqueness(drawn), novelty(drawn, ["CCO"])) == (3 / 4, 2 / 3, 1 / 2)
parsed = [(a, b) for a, b in zip(start, found) if b is not None]
before, after = (log_p(part) for part in zip(*parsed))
assert len(parsed) >= 5 and sum(after) > sum(before) and r2 > 0.5
""",
    "coming-from-pyro": "assert loss.shape == () and not loss.requires_grad",
    "compare-estimators": """
assert [row.num_particles for row in found.rows] == [1, 1, 4, 4]
assert all(row.guide.bias is not None for row in found.rows)
""",
}


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
@pytest.mark.parametrize("page", [p for p in PAGES if loose(p)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, written, capsys):
    written(page)
    names = {}
    for block in [*loose(page), CLAIMS[page.stem]]:
        exec(compile(block, page.name, "exec"), names)
    if page == README:
        assert float(re.search(r"bound (\S+) ±", capsys.readouterr().out)[1]) > -250


@pytest.mark.parametrize("page, name, test", TESTS, ids=["-".join(t[1:]) for t in TESTS])
def test_a_test_of_a_page_passes(page, name, test, written):
    path = written(page) / name
    getattr(load_file(path), test)()


def test_every_kind_of_part_has_a_file_and_tests_on_its_page():
    kinds = ("prior", "likelihood", "posterior", "network", "estimator", "program")
    found = files(ROOT / "docs" / "write-your-own-part.md")
    assert list(found) == [name for k in kinds for name in (f"my_{k}.py", f"test_my_{k}.py")]
    assert {name for _, name, _ in TESTS} == {name for name in found if name.startswith("test_")}


@pytest.mark.parametrize("page, name", FUNCTIONS, ids=[name for _, name in FUNCTIONS])
def test_a_file_of_functions_passes_its_check_on_the_digits(page, name, run, written):
    written(page)
    code, out, err = run("check", name, "--loss", "IWAE(num_particles=5)")
    assert code == 0 and "Bernoulli" in out, err


def test_check_answers_what_the_page_says(run, written):
    page = ROOT / "docs" / "write-your-own-model.md"
    written(page)
    said = re.search(r"```\n(site .*?)```", page.read_text(), flags=re.DOTALL)[1]
    _, out, _ = run("check", "my_vae.py")
    answered = [line.split() for line in out.splitlines()]
    assert all(line.split() in answered for line in said.splitlines())


@pytest.mark.parametrize("page, name", FUNCTIONS, ids=[name for _, name in FUNCTIONS])
def test_a_file_of_two_functions_is_a_program(page, name, written):
    assert read_program(name, {}, folder=written(page))


@pytest.mark.parametrize("page, line", COMMANDS, ids=[line for _, line in COMMANDS])
def test_a_command_is_understood(page, line, written, command):
    written(page)
    words = shlex.split(line, comments=True)[1:]
    if words == ["list"]:
        return
    group = typer.main.get_command(cli.app)
    found = group.commands[words[0]]
    options = found.make_context(words[0], words[1:]).params
    shapes = {
        "cifar10": (3, 32, 32),
        "mnist": (1, 28, 28),
        "fashion_mnist": (1, 28, 28),
        "lfw_faces": (1, 64, 64),
        "digit_columns": (8, 8),
        "adult": (12,),
    }
    data = str(options.get("data") or "digits").partition("(")[0]  # of impute a file
    known = {"x_shape": shapes.get(data, (1, 8, 8)), "num_data": 1297, "num_classes": 10}
    if data in ("kjv", "names", "smiles", "zinc"):
        known = known_from(datasets.names())
    program = options.get("program")
    for folder in set(re.findall(r"load\('(.*?)'[,)]", program or "")):
        (first,) = [other for _, other in COMMANDS if other.endswith(f"--out {folder}")]
        long = r' --epochs \d+| --loss "[^"]*linear[^"]*"'  # a warm-up is longer than a step
        words = shlex.split(re.sub(long, "", first))[1:]
        of_first = dict(pairwise(words)).get("--data", "digits").partition("(")[0]
        if of_first in shapes:  # files that are not there: black and white noise in their place
            noise = np.random.default_rng(0).integers(2, size=(20, *shapes[of_first]))
            np.save("noise.npy", noise.astype(np.float32))
            words[words.index("--data") + 1] = "arrays('noise.npy')"
        assert command(*words, "--steps", 1) == 0
    if program and not program.startswith("runs/"):
        read_program(program, known)
    losses = options.get("loss") or []
    for loss in [losses] if isinstance(losses, str) else losses:
        read_loss(loss, known)


# Those of data that everybody has.
IN_FILES = [
    (page, command)
    for page, command in COMMANDS
    if re.search(r"(check|train) \S*\.py", command) and "arrays(" not in command
]


@pytest.mark.parametrize("page, line", IN_FILES, ids=[line for _, line in IN_FILES])
def test_the_program_of_a_file_passes_its_check_as_the_command_has_it(page, line, written, run):
    written(page)
    program, *options = shlex.split(line, comments=True)[2:]
    given = dict(zip(options[::2], options[1::2], strict=True))
    asked = [part for name in ("--data", "--loss") if name in given for part in (name, given[name])]
    code, out, err = run("check", program, *asked)
    assert code == 0 and "nats per datum" in out, err


def links(page):
    """The relative links of a page or notebook."""
    if page.suffix == ".ipynb":
        cells = nbformat.read(page, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = page.read_text()
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def anchors(page):
    """The anchors that GitHub gives to the headings of a page."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_link_leads_to_a_file_and_a_heading_in_it(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_leads_to_every_page():
    found = {(ROOT / link).resolve() for link in links(README)}
    assert found.issuperset(DOCS)
