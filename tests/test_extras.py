"""The extra diffusers: it works beside a torchvision that does not, and a lack of it is said."""

import subprocess
import sys

import pytest

from pyro_vae.extras import import_diffusers


def test_a_torchvision_that_fails_at_import_does_not_take_diffusers_with_it(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator nms does not exist')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from pyro_vae.extras import import_diffusers; "
        "assert import_diffusers().AutoencoderKL and 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_package_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ValueError, match=r"pip install 'pyro-vae\[diffusers\]'"):
        import_diffusers()
