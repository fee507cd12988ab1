"""The command `anomalies`: which data are strange to a trained program."""

from typing import Annotated

import typer

from pyro_vae.app.opened import first, in_memory, trained_and_data
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Out, Part, Seed, Split

__all__ = ["anomalies"]


def anomalies(
    run: Folder,
    kind: Annotated[
        str,
        typer.Option(
            help="The score: log_likelihood, bound, distortion, rate, complexity, variation, "
            "regret or typicality."
        ),
    ] = "log_likelihood",
    anomalous: Annotated[
        list[str] | None,
        typer.Option(
            help="A label that makes a datum an anomaly, for a ROC curve; may come again."
        ),
    ] = None,
    quantile: Annotated[
        float, typer.Option(help="Of the validation data's scores, for the threshold.")
    ] = 0.95,
    num: Annotated[
        int, typer.Option("--num", "-n", min=1, max=50, help="The strangest data to show.")
    ] = 10,
    num_particles: Annotated[
        int, typer.Option(min=1, help="Draws of the latents of each datum.")
    ] = 100,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first so many data.")
    ] = None,
    data: OtherData = None,
    split: Split = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Ranks data by how strange they are, in a table; shows the strangest, and a threshold.

    The table, a picture and perhaps a ROC curve go to anomalies.csv, anomalies.png and roc.png in
    the run folder, or beside --out, the table. The threshold is that of the validation data that
    the run was trained with.
    """
    from pyro_vae.app import anomalies as finding
    from pyro_vae.app import figures, texts
    from pyro_vae.app.generation import reconstructed
    from pyro_vae.app.prepare import labelled
    from pyro_vae.app.run import Run

    finding.check_quantile(quantile)
    program, dataset = trained_and_data(run, data, data_dir, seed, device)
    own = dataset if data is None else Run(run).data(None, data_dir)
    judged = in_memory(first(getattr(dataset, split), limit))
    found = finding.find(
        program,
        judged,
        dataset,
        own,
        kind=kind,
        anomalous=anomalous or (),
        quantile=quantile,
        num_particles=num_particles,
        limit=limit,
    )
    table = out or run / "anomalies.csv"
    print(*found.sentences, finding.save_ranking(found, table), sep="\n")
    x, y = labelled(program, judged)
    strangest = found.order[:num].to(x.device)
    x, y = x[strangest], None if y is None else y[strangest]
    if vocabulary := Run(run).vocabulary:
        both = texts.Writer(program, vocabulary).reconstructions(x, y)
        texts.show(texts.pairs(*both), table.with_suffix(".txt"))
    else:
        made = reconstructed(program, x, y)
        print(figures.save(figures.beside(x, made), table.with_suffix(".png")))
    if curve := finding.save_roc(found, table.with_name("roc.png")):
        print(curve)
