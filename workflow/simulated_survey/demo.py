"""A survey from nothing to fitted sources: simulate it, reduce and stack it on two workers, fit, draw what came out.

``python demo.py FOLDER`` runs three commands that could as well be typed, and compares what was found with the truth.
Run again, it finds everything but the fit done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from gammaflow import AnalysisConfig
from gammaflow.cli import main as gammaflow

HERE = Path(__file__).resolve().parent
SEED, WORKERS = 42, 2


@click.command()
@click.argument("folder", default="demo-run", type=click.Path(path_type=Path))
@click.option("--observations", metavar="N", default=20, show_default=True, help="How many observations.")
def demo(folder: Path, observations: int) -> None:
    """Leave a data store, a run, a fit and figures in FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    config, survey, run = folder / "config.yaml", folder.resolve() / "survey", folder / "run"
    models = HERE / "models.yaml"
    commands = [
        ["run", str(config), "--run", str(run), "--workers", str(WORKERS), "--models", str(models)],
        ["show", str(run), "--figures", str(folder)],
    ]
    if not (survey / "hdu-index.fits.gz").exists():
        commands.insert(
            0, ["simulate", str(survey), "--observations", str(observations), "--seed", str(SEED)]
        )
    places = {
        "observations": {"datastore": str(survey)},
        "datasets": {"background": {"exclusion": str(survey / "exclusion.fits")}},
    }
    AnalysisConfig.read(HERE / "config.yaml").update(places).write(config, overwrite=True)
    for command in commands:
        click.echo(f"\n$ gammaflow {' '.join(command)}", err=True)
        status = gammaflow(command, prog_name="gammaflow", standalone_mode=False)
        if status:
            sys.exit(status)
    click.echo("\nWhat was put into the sky, and what the fit of the stacked map found:", err=True)
    for line in comparison(survey / "models.yaml", run / "fits" / "stacked" / "result.json"):
        click.echo(line)


def comparison(truth: Path, result: Path) -> Iterator[str]:
    """A line for each free parameter of a source: true value, found value, its error, and the pull."""
    from gammaflow.modeling import Models

    models = Models.read(truth)
    true = dict(zip(models.parameter_names, models.parameters, strict=True))
    yield f"{'parameter':<40}{'true':>12}{'found':>12}{'error':>10}{'pull':>7}  unit"
    pulls = []
    for found in json.loads(result.read_text())["parameters"]:
        if found["frozen"] or found["name"] not in true or found["error"] is None:
            continue
        expected = true[found["name"]].quantity.to_value(found["unit"])
        pulls.append((found["value"] - expected) / found["error"])
        scale, unit = (
            (1e-12, f"1e-12 {found['unit']}") if "amplitude" in found["name"] else (1.0, found["unit"])
        )
        numbers = (expected / scale, found["value"] / scale)
        yield (
            f"{found['name']:<40}"
            + "".join(f"{number:>12.5g}" for number in numbers)
            + f"{found['error'] / scale:>10.2g}{pulls[-1]:>+7.2f}  {unit}"
        ).rstrip()
    spread = (sum(pull**2 for pull in pulls) / max(len(pulls), 1)) ** 0.5
    yield f"{len(pulls)} parameters, root mean square of the pulls {spread:.2f} (1 is right)"


if __name__ == "__main__":
    demo()
