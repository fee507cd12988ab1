"""The README is true: its code runs, its commands are understood, its tables are complete."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from pyro_vae.app import cli
from pyro_vae.app.text import catalogue, read_loss, read_program

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, flags=re.DOTALL))
COMMANDS = sorted(
    {line for line in SHELL.splitlines() if line.startswith("pyro-vae")}
    | set(re.findall(r"`(pyro-vae (?!VERB)[^`]*)`", TEXT))
)


def rows(header):
    """The names in the first column of the table with this header."""
    table = re.search(rf"^\| {header} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, flags=re.MULTILINE)
    return set(re.findall(r"^\| `(\w+)` \|", table[1], flags=re.MULTILINE))


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


FILES = [block for block in BLOCKS if "def guide" in block]


@pytest.mark.parametrize("text", FILES, ids=["my_vae.py", "my_cvae.py"])
def test_a_file_of_functions_passes_its_check_on_the_digits(text, run, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    code, out, err = run("check", "mine.py", "--loss", "IWAE(num_particles=5)")
    assert code == 0 and "Bernoulli" in out, err


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_the_code_runs_from_top_to_bottom(capsys, tmp_path, monkeypatch):
    (tmp_path / "my_vae.py").write_text(FILES[0])
    monkeypatch.syspath_prepend(tmp_path)
    names = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    assert float(re.search(r"tensor\((.*)\)", capsys.readouterr().out)[1]) > -250
    assert names["images"].shape == (64, 1, 8, 8)
    assert names["bound"].shape == (300,)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command):
    words = shlex.split(command, comments=True)[1:]
    if words == ["list"]:
        return
    group = typer.main.get_command(cli.app)
    found = group.commands[words[0]]
    options = found.make_context(words[0], words[1:]).params
    shapes = {
        "mnist": (1, 28, 28),
        "lfw_faces": (1, 64, 64),
        "digit_columns": (8, 8),
        "adult": (12,),
    }
    data = (options.get("data") or "digits").partition("(")[0]
    known = {"x_shape": shapes.get(data, (1, 8, 8)), "num_data": 1297, "num_classes": 10}
    if options.get("program") and not re.search(r"\.py|^runs/", options["program"]):
        read_program(options["program"], known)
    losses = options.get("loss") or []
    for loss in [losses] if isinstance(losses, str) else losses:
        read_loss(loss, known)


def test_every_picture_is_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", TEXT):
        assert (ROOT / path).is_file()


def test_the_file_of_two_functions_is_a_program(tmp_path):
    (tmp_path / "my_vae.py").write_text(FILES[0])
    assert read_program("my_vae.py", {}, folder=tmp_path)
