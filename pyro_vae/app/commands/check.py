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
    """Runs a program on one batch of data; prints its sites, or what is wrong with it."""
    from pyro_vae.app.prepare import find_device, known_from, preflight
    from pyro_vae.app.text import read_data, read_loss, read_program

    dataset = read_data(data, data_dir)
    print(dataset.description)
    known = known_from(dataset)
    module = read_program(program, known).to(find_device(device))
    report = preflight(module, dataset, read_loss(loss, known), batch_size)
    print_rows(report.HEADER, report.rows())
    print(report.summary())
