"""The plan of the house: imports point one way, names are exported, the package is what it says."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# The rooms of inference/, each with those that it may import.
ROOMS = {
    "terms": set(),
    "graphs": set(),
    "estimators": {"terms"},
    "evaluation": {"terms", "graphs"},
    "disentanglement": {"evaluation"},
    "checking": {"terms", "estimators"},
    "training": {"terms", "graphs", "estimators", "evaluation"},
    "comparison": {"terms", "estimators", "evaluation", "training"},
    "explanation": {"terms", "estimators", "evaluation", "comparison"},
    "applications": {"terms", "graphs", "estimators", "evaluation", "training"},
}
# The real folders of each package; links are left out.
PARTS = (
    "datasets",
    "distributions",
    "likelihoods",
    "molecules",
    "networks",
    "plots",
    "posteriors",
    "priors",
)
HOMES = {
    "pyro_vae": ROOT / "pyro_vae",
    **{f"pyro_vae.{name}": ROOT / "pyro_vae" / name for name in PARTS},
    "pyro_vae.app": ROOT / "pyro_vae" / "app",
    "pyro_vae.app.commands": ROOT / "pyro_vae" / "app" / "commands",
    "pyro_vae.app.explorer": ROOT / "pyro_vae" / "app" / "explorer",
    "pyro_vae.models": ROOT / "models",
    "pyro_vae.inference": ROOT / "inference",
    **{f"pyro_vae.inference.{room}": ROOT / "inference" / room for room in ROOMS},
}
FILES = [(package, path) for package, home in HOMES.items() for path in sorted(home.glob("*.py"))]
MODULES = [
    package if path.stem == "__init__" else f"{package}.{path.stem}"
    for package, path in FILES
    if path.stem != "__main__"
]
ABOVE_THE_VOCABULARY = {"pyro_vae.models", "pyro_vae.inference", "pyro_vae.app"}
# What a part may import of the others.
OTHERS = {
    "datasets": {"likelihoods", "molecules"},
    "distributions": set(),
    "likelihoods": {"distributions", "networks"},
    "molecules": set(),
    "networks": set(),
    "plots": set(),
    "posteriors": {"distributions", "networks"},
    "priors": {"distributions", "networks"},
}
MAY_NOT_IMPORT = {
    "pyro_vae": ABOVE_THE_VOCABULARY,
    **{
        f"pyro_vae.{name}": ABOVE_THE_VOCABULARY
        | {f"pyro_vae.{other}" for other in {*PARTS} - {name} - OTHERS[name]}
        for name in PARTS
    },
    "pyro_vae.models": {"pyro_vae.inference", "pyro_vae.app"},
    "pyro_vae.inference": {"pyro_vae.models", "pyro_vae.app"},
    **{
        f"pyro_vae.inference.{room}": {"pyro_vae.models", "pyro_vae.app"}
        | {f"pyro_vae.inference.{other}" for other in ROOMS.keys() - allowed - {room}}
        for room, allowed in ROOMS.items()
    },
    "pyro_vae.app": set(),
    "pyro_vae.app.commands": set(),
    "pyro_vae.app.explorer": set(),
}


def imports(package, path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], module]
                )
            yield module.rstrip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package, path", FILES, ids=lambda value: getattr(value, "name", value))
def test_imports_point_one_way(package, path):
    if path in (HOMES["pyro_vae"] / "__init__.py", HOMES["pyro_vae"] / "__main__.py"):
        return  # these two hand names on
    for name in imports(package, path):
        for forbidden in MAY_NOT_IMPORT[package]:
            assert name != forbidden and not name.startswith(f"{forbidden}."), f"{path}: {name}"


@pytest.mark.parametrize("package, path", FILES, ids=lambda value: getattr(value, "name", value))
def test_imports_are_relative_within_a_folder_and_absolute_across(package, path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path} imports across folders with dots"


@pytest.mark.parametrize("package, path", FILES, ids=lambda value: getattr(value, "name", value))
def test_what_lies_in_another_room_is_imported_from_the_room(package, path):
    parts = ("distributions", "likelihoods", "molecules", "networks", "posteriors", "priors")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            for room in (*parts, *(f"inference.{room}" for room in ROOMS)):
                file = f"pyro_vae.{room}."
                assert not node.module.startswith(file), f"{path} imports from {node.module}"


def depth(room):
    return 1 + max(map(depth, ROOMS[room]), default=0)


def test_no_chain_of_imports_passes_through_more_than_six_rooms():
    assert max(map(depth, ROOMS)) <= 6


@pytest.mark.parametrize("room", ["likelihoods", "posteriors", "priors"])
def test_a_part_is_added_by_its_file_alone(room, tmp_path):
    """A copy of the folder with one file more has one name more, and no other file changed."""
    package = shutil.copytree(ROOT / "pyro_vae" / room, tmp_path / "copied")
    (package / "of_my_own.py").write_text('__all__ = ["OfMyOwn"]\nclass OfMyOwn: ...\n')
    code = f"import copied, pyro_vae.{room} as room; "
    code += "assert {*copied.__all__} - {*room.__all__} == {'OfMyOwn'} and copied.OfMyOwn; "
    code += "assert len(copied.__all__) == len(room.__all__) + 1"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_two_files_that_export_one_name_are_refused(tmp_path):
    package = tmp_path / "twice"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pyro_vae.exports import export_files\n__all__ = export_files(__name__)\n"
    )
    for file in ("one", "two"):
        (package / f"{file}.py").write_text('__all__ = ["Part"]\nclass Part: ...\n')
    run = subprocess.run(
        [sys.executable, "-c", "import twice"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "ImportError: twice has two Part, in one.py and two.py" in run.stderr


@pytest.mark.parametrize("package, path", FILES, ids=lambda value: getattr(value, "name", value))
def test_no_file_is_longer_than_one_reads_in_a_sitting(package, path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_exists_and_is_documented(module):
    found = import_module(module)
    assert found.__doc__
    for name in getattr(found, "__all__", []):
        assert hasattr(found, name)


def test_the_package_list_is_the_folders_and_the_links_lead_there():
    setuptools = PROJECT["tool"]["setuptools"]
    assert set(setuptools["packages"]) == set(HOMES)
    folders = {p.parent for p in (ROOT / "pyro_vae").rglob("*.py") if not p.is_symlink()}
    assert folders <= set(HOMES.values())
    for name in ("models", "inference"):
        link = ROOT / "pyro_vae" / name
        assert os.readlink(link) == f"../{name}"
        assert setuptools["package-dir"][f"pyro_vae.{name}"] == name


@pytest.mark.parametrize("name", ["models", "inference"])
def test_a_second_copy_of_the_classes_cannot_be_imported(name):
    run = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 1 and f"import pyro_vae.{name}" in run.stderr


def test_importing_changes_no_global_state():
    code = (
        "import torch, pyro; before = torch.get_rng_state(), torch.get_default_dtype(), "
        "torch.get_num_threads(), pyro.settings.get(); "
        "import pyro_vae, pyro_vae.models, pyro_vae.inference, pyro_vae.plots, pyro_vae.datasets; "
        "after = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads(), "
        "pyro.settings.get(); "
        "assert torch.equal(before[0], after[0]) and before[1:] == after[1:]; "
        "assert len(pyro.get_param_store()) == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_pinned_version_is_one_that_the_project_allows():
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text().split()
    pins = dict(line.split("==") for line in lines)
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    for requirement in map(Requirement, wanted):
        if requirement.name != "pyro-vae":
            assert requirement.specifier.contains(pins[requirement.name]), requirement
