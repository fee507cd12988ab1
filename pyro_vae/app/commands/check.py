"""The command `check`: what would go wrong in a training, found on one batch."""

from pyro_vae.app.options import BatchSize, Data, DataDir, Device, Loss, Program
from pyro_vae.app.tables import print_rows

__all__ = ["check"]


def check(
    program: Program,
    data: Data = "digits",
    loss: Loss = "Trace_ELBO",
    batch_size: BatchSize = 128,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """Runs a program once on a batch of data; prints its sites, or what to do about it."""
    from pyro_vae.app.prepare import find_device, known_from, preflight
    from pyro_vae.app.text import read_data, read_loss, read_program

    found = read_data(data, data_dir)
    print(found.description)
    module = read_program(program, known_from(found)).to(find_device(device))
    report = preflight(module, found, read_loss(loss, known_from(found)), batch_size)
    print_rows(report.HEADER, report.rows())
    print(report.summary())
