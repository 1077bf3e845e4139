"""``gammaflow fit``: models fitted to the datasets of a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gammaflow.cli.exits import QuietCommand, Status
from gammaflow.cli.terminal import MOST_LINES, plain_table, say_json, say_table

if TYPE_CHECKING:
    from distributed import Client

    from gammaflow.analysis import Analysis
    from gammaflow.dag.fit_record import FitRecord, ParameterRecord
    from gammaflow.dag.fit_run import RunFitResult, Which

IN_THIS_PROCESS = 64
"""So many datasets are fitted in this process, if nothing else is asked for: workers take longer to start."""


@click.command(cls=QuietCommand)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--models", metavar="MODELS.yaml", help="What to fit, in Gammapy's YAML; else general.models_file."
)
@click.option("--stacked", "which", flag_value="stacked", help="Fit what is stacked, groups jointly.")
@click.option("--joint", "which", flag_value="joint", help="Fit the observations' datasets jointly.")
@click.option(
    "--backend",
    type=click.Choice(["newton", "minuit"]),
    default="newton",
    show_default=True,
    help="What looks for the minimum.",
)
@click.option("--minos", is_flag=True, help="Also find the asymmetric errors of the shared parameters.")
@click.option("--name", metavar="NAME", help="Results go to DIR/fits/NAME; else stacked or joint.")
@click.option("--overwrite", is_flag=True, help="Replace a fit of the same name.")
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Worker processes on this machine.")
@click.option("--serial", is_flag=True, help="Fit in this process, without Dask.")
@click.option("--scheduler", metavar="ADDRESS", help="Fit on a Dask cluster that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def fit(
    folder: Path,
    models: str | None,
    which: Which | None,
    backend: str,
    minos: bool,
    name: str | None,
    overwrite: bool,
    workers: int | None,
    serial: bool,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Fit models to the datasets of a run.

    Fits what the run makes last, the stacked dataset or every observation's, unless told otherwise. Datasets without
    a background model get a free norm. The result is kept in DIR/fits/NAME: models.yaml with the fitted values, their
    covariance, result.json; a fit of the same name and datasets stays, unless --overwrite is given. The exit status
    is 4 if the fit did not converge.

    Up to 64 datasets are fitted in this process; more on as many workers as there are cores. The result is the same.
    """
    if sum((workers is not None, serial, scheduler is not None)) > 1:
        raise click.UsageError("--workers, --serial and --scheduler exclude each other.")
    from gammaflow.analysis import Analysis
    from gammaflow.config import AnalysisConfig
    from gammaflow.dag.callbacks.fit_line import FitLine
    from gammaflow.dag.fit_record import checked_name, free_name
    from gammaflow.dag.run_folder import RunFolder
    from gammaflow.dag.status import status

    if name is not None:
        checked_name(name)
    standing = status(folder)
    analysis = Analysis(
        AnalysisConfig.read(folder / "config.yaml"), run=folder, callbacks=[] if as_json else [FitLine()]
    )
    given = analysis.read_models(models)
    joint = which == "joint" or (which is None and not standing.stage("finish").total)
    free_name(RunFolder(folder), name or ("joint" if joint else "stacked"), overwrite, standing.keys)
    datasets = len(standing.observations if joint else standing.stacked)
    with _workers(analysis, datasets, workers, serial, scheduler) as analysis.client:
        result = analysis.fit(given, which, backend=backend, minos=minos, name=name, overwrite=overwrite)
    report_fit(result, as_json=as_json)


def _workers(
    analysis: Analysis, datasets: int, workers: int | None, serial: bool, scheduler: str | None
) -> AbstractContextManager[Client | None]:
    """The workers asked for; none where this process is faster."""
    if serial or (workers is None and scheduler is None and datasets <= IN_THIS_PROCESS):
        return nullcontext()
    from gammaflow.cli.run import workers_for

    return workers_for(analysis.config, datasets, workers, serial, scheduler)


def report_fit(result: RunFitResult, *, as_json: bool = False) -> None:
    """Print a fit that has just been made; leave with a status of its own if it did not converge."""
    record = result.record
    if as_json:
        say_json(record.to_dict())
    else:
        say_fit(record)
        click.echo(f"The fit is in {result.folder}.", err=True)
    if not record.converged:
        click.echo(f"The fit did not converge: {record.message}", err=True)
        click.get_current_context().exit(Status.NOT_CONVERGED)


def say_fit(record: FitRecord) -> None:
    """The free parameters and the statistic on standard output, warnings on standard error."""
    free = [parameter for parameter in record.parameters if not parameter.frozen]
    with_minos = any(parameter.minos for parameter in free)
    headings = ("parameter", "value", "error", *(("minos -", "minos +") if with_minos else ()), "unit", "")
    say_table(plain_table(headings, [_row(p, with_minos) for p in free[:MOST_LINES]], numbers=0))
    if len(free) > MOST_LINES:
        click.echo(f"... and {len(free) - MOST_LINES} more, see result.json")
    click.echo(headline(record))
    for warning in record.warnings[:MOST_LINES]:
        click.echo(f"Warning: {warning}", err=True)


def headline(record: FitRecord) -> str:
    """The fit in one line."""
    number = len(record.stat_per_dataset)
    return (
        f"{record.name}: {'converged' if record.converged else 'not converged'}, "
        f"statistic {record.total_stat:.4f} of {number} dataset{'' if number == 1 else 's'}, "
        f"{record.trips} trips, {record.seconds:.2f} s"
    )


def say_fits(records: Sequence[FitRecord], current: Sequence[bool]) -> None:
    """What fits there are, with their shared parameters."""
    for record, is_current in zip(records, current, strict=True):
        stale = "" if is_current else "; the datasets have changed since"
        click.echo(f"\nfit {headline(record)}{stale}")
        shared = [p for p in record.parameters if not p.frozen and not p.dataset]
        with_minos = any(parameter.minos for parameter in shared)
        headings = (
            "  parameter",
            "value",
            "error",
            *(("minos -", "minos +") if with_minos else ()),
            "unit",
            "",
        )
        rows = [[f"  {first}", *rest] for first, *rest in (_row(p, with_minos) for p in shared[:MOST_LINES])]
        if rows:
            say_table(plain_table(headings, rows, numbers=0))
        if len(shared) > MOST_LINES:
            click.echo(f"  ... and {len(shared) - MOST_LINES} more, see result.json")


def _row(parameter: ParameterRecord, with_minos: bool) -> list[str]:
    limit = {-1: "at its lower limit", 1: "at its upper limit"}.get(parameter.at_limit, "")
    error = (
        "" if limit else "undetermined" if parameter.error != parameter.error else f"{parameter.error:.3g}"
    )
    ends = [f"{parameter.minos[end]:.3g}" if parameter.minos else "" for end in ("errn", "errp")]
    return [
        parameter.name,
        f"{parameter.value:.7g}",
        error,
        *(ends if with_minos else ()),
        parameter.unit,
        limit,
    ]
