"""``gammaflow convert``: datasets from one format to another."""

from __future__ import annotations

from pathlib import Path

import click

from gammaflow.cli.exits import QuietCommand


@click.command(cls=QuietCommand)
@click.argument("src", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("dst", metavar="DST", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["fits", "fits.gz", "zarr"]),
    default="fits",
    show_default=True,
    help="Of lists and runs: what to write the datasets as.",
)
@click.option(
    "--models",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Of a list: its models, if not beside it.",
)
@click.option("--ogip", is_flag=True, help="Write ON/OFF spectra as PHA, ARF, RMF and BKG.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def convert(src: Path, dst: Path, format_: str, models: Path | None, ogip: bool, overwrite: bool) -> None:
    """Write the datasets of SRC as DST, with their models, in the format that the name ends on.

    \b
    .zarr            a Zarr group
    .fits, .fits.gz  FITS in the GADF sky-map format, as Gammapy has it; SRC may also be a PHA file
    .pha             an ON/OFF spectrum in the OGIP formats
    .ecsv            flux points as a table of text
    .yaml            a list of datasets (SRC and DST): all of them, beside DST, and the file of models
    a run folder     (SRC) into a folder DST: stacked/, observations/ and fits/ with lists and models
    """
    from gammaflow.io import convert as convert_dataset

    written = convert_dataset(src, dst, models=models, ending=f".{format_}", ogip=ogip, overwrite=overwrite)
    for path in written:
        click.echo(path)
