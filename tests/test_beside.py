"""Users' files and what stands beside them: imports, wherever they are, and whose they are."""

import sys

import pytest
import torch

from pyro_vae import load
from pyro_vae.inference import SVI, Compile, Trace_ELBO, evaluate
from pyro_vae.source import load_file, sources

PROGRAM = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn

loc = nn.Parameter(torch.zeros(()))


def model(x):
    from nets import scale
    import deep.inner as inner

    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, inner.one()))
        pyro.sample("x", dist.Normal(z.unsqueeze(-1), scale()).to_event(1), obs=x)


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x[:, 0] / 2 + loc, 0.5**0.5))
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def program(write):
    write("nets.py", "def scale():\n    from more import value\n    return value\n")
    write("more.py", "value = 1.0\n")
    write("deep/__init__.py", "")
    write("deep/inner.py", "def one():\n    from . import other\n    return other.value\n")
    write("deep/other.py", "value = 1.0\n")
    return load(write("lazy.py", PROGRAM))


def test_imports_within_functions_find_what_stands_beside(program, tmp_path):
    x = torch.randn(9, 1)
    exact = torch.distributions.Normal(0.0, 2**0.5).log_prob(x[:, 0])
    assert torch.allclose(evaluate(program, x).bound, exact, atol=1e-5)
    names = [path.relative_to(tmp_path).as_posix() for path in sources("lazy.py")]
    assert names[0] == "lazy.py"
    wanted = ["deep/__init__.py", "deep/inner.py", "deep/other.py", "more.py", "nets.py"]
    assert sorted(names[1:]) == wanted


def test_they_run_within_a_graph(program):
    x = torch.randn(9, 1)
    adam, captured = torch.optim.Adam(program.parameters()), Compile(mode="captured")
    svi = SVI(program.model, program.guide, adam, Trace_ELBO(), compile=captured)
    exact = -torch.distributions.Normal(0.0, 2**0.5).log_prob(x[:, 0]).sum()
    for _ in range(3):
        loss = svi.step(x)
    assert svi.mode == "captured"
    assert float(loss) == pytest.approx(float(exact), abs=0.05)  # two steps of 1e-3 off


def test_they_leave_no_trace_in_the_interpreter(program):
    before = (list(sys.path), list(sys.meta_path), set(sys.modules))
    evaluate(program, torch.zeros(2, 1))
    assert (list(sys.path), list(sys.meta_path), set(sys.modules)) == before
    assert not {"nets", "more", "deep", "deep.inner"} & set(sys.modules)


def test_two_files_have_modules_of_one_name_of_their_own(write):
    for folder, value in (("a", 1), ("b", 2)):
        write(f"{folder}/nets.py", f"value = {value}")
        write(f"{folder}/mine.py", "def get():\n    import nets\n    return nets.value")
    one, other = load_file("a/mine.py"), load_file("b/mine.py")
    assert (one.get(), other.get(), one.get()) == (1, 2, 1)


def test_a_module_of_that_name_elsewhere_is_neither_used_nor_lost(write, monkeypatch):
    import types

    other = types.ModuleType("nets")
    monkeypatch.setitem(sys.modules, "nets", other)
    write("nets.py", "value = 1")
    mine = load_file(write("mine.py", "import nets\nassert nets.value == 1"))
    assert mine.nets.value == 1 and sys.modules["nets"] is other


def test_a_module_is_run_once_and_keeps_its_state(write):
    write("nets.py", "import torch\nlayer = torch.nn.Linear(1, 1)")
    mine = load_file(write("mine.py", "def get():\n    from nets import layer\n    return layer"))
    assert mine.get() is mine.get()


def test_modules_that_import_each_other_are_found(write):
    write("one.py", "import two\nvalue = 1")
    write("two.py", "import one\n\ndef get():\n    return one.value")
    assert load_file(write("mine.py", "import one, two")).two.get() == 1


def test_a_folder_without_an_init_is_a_package(write):
    write("parts/nets.py", "value = 3")
    assert load_file(write("mine.py", "from parts.nets import value")).value == 3


def test_a_folder_of_an_installed_name_does_not_hide_it(write):
    write("torch/notes.txt", "")
    write("scipy/notes.txt", "")
    mine = load_file(write("mine.py", "import torch\nimport scipy.stats"))
    assert mine.torch is torch and hasattr(mine.scipy.stats, "norm")


@pytest.mark.parametrize(
    "files, sentence",
    [
        ({"mine.py": "x = 1\ndef model(x:\n"}, r"mine.py does not run: line 2: SyntaxError: "),
        ({"mine.py": "x = 1\n  y = 2\n"}, "line 2: IndentationError: unexpected indent"),
        ({"mine.py": "import nets", "nets.py": "\n\n1 +"}, r"run: nets.py, line 3: SyntaxError"),
        ({"mine.py": "import nets", "nets.py": "\n1 / 0"}, "run: nets.py, line 2: ZeroDivision"),
        ({"mine.py": "\nimport not_here"}, "line 2: ModuleNotFoundError: No module named"),
        ({"mine.py": "\nfrom . import nets"}, "line 2: ImportError: attempted relative"),
        ({"mine.py": "x = 1\nexit()"}, "line 2: SystemExit"),
        ({"mine.py": "x = '\x00'"}, "does not run: .*null bytes"),
    ],
)
def test_files_that_do_not_run_name_file_and_line(write, files, sentence):
    for name, text in files.items():
        write(name, text)
    before = set(sys.modules)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_file("mine.py")
    assert "\n" not in str(caught.value)
    new = set(sys.modules) - before
    assert not [name for name in new if name == "nets" or name.startswith("_mine_")], new
