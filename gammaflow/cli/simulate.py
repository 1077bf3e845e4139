"""``gammaflow simulate``: a synthetic survey to try things on."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gammaflow.cli.exits import QuietCommand


@click.command(cls=QuietCommand)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--observations", metavar="N", default=20, show_default=True, help="How many observations.")
@click.option("--seed", metavar="S", default=0, show_default=True, help="Seed of the random numbers.")
@click.option(
    "--ontime", metavar="SECONDS", default=1800.0, show_default=True, help="Good time of an observation."
)
@click.option("--compress", is_flag=True, help="Write gzipped event files.")
@click.option("--overwrite", is_flag=True, help="Replace a data store that is there.")
def simulate(
    folder: Path, observations: int, seed: int, ontime: float, compress: bool, overwrite: bool
) -> None:
    """Write a synthetic survey as a GADF data store: a stretch of the Galactic plane, seven sources.

    The same seed gives the same bytes. Beside the data lie config.yaml, an analysis of it ready to run, and
    models.yaml, the true sources.
    """
    from rich.console import Console
    from rich.progress import Progress

    from gammaflow.data.simulation import simulate_survey

    with Progress(console=Console(file=sys.stderr), transient=True) as bars:
        bar = bars.add_task("simulating", total=observations)
        survey = simulate_survey(
            folder,
            observations,
            seed,
            ontime=ontime,
            compress=compress,
            overwrite=overwrite,
            progress=lambda done, _total: bars.update(bar, completed=done),
        )
    click.echo(f"{len(survey.obs_ids)} observations, {sum(survey.n_events)} events in {survey.folder}")
    click.echo(f"Run it with: gammaflow run {survey.config} --run RUN")
