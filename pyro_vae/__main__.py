"""`python -m pyro_vae` is `pyro-vae`."""

from .app.cli import main

main()
