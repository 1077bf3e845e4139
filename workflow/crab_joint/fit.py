"""Fit the Crab nebula with a Fermi-LAT map, H.E.S.S. spectra and HAWC flux points together.

python fit.py [--stack] [--workers 2] [--out fitted.yaml]
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from gammaflow import Fit, Models
from gammaflow.dag.clusters import local_cluster
from gammaflow.datasets import Datasets, SpectrumDatasetOnOff, stack
from gammaflow.errors import GammaflowError
from gammaflow.io import read_datasets

HERE = Path(__file__).parent


def datasets(stacked: bool) -> Datasets:
    """What `datasets.yaml` lists; the spectra of H.E.S.S. as one, if asked for."""
    found = read_datasets(HERE / "datasets.yaml")
    spectra = [d for d in found if isinstance(d, SpectrumDatasetOnOff)]
    others = [d for d in found if d not in spectra]
    return Datasets([*others, stack(spectra, "HESS")]) if stacked else found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", action="store_true", help="stack the spectra of H.E.S.S. before the fit")
    parser.add_argument("--workers", type=int, default=0, help="fit on so many processes; here by default")
    parser.add_argument("--out", type=Path, help="write the fitted models to this file")
    arguments = parser.parse_args()
    models = Models.read(HERE / "models.yaml")
    with local_cluster(arguments.workers) if arguments.workers else nullcontext() as client:
        result = Fit().run(datasets(arguments.stack), models, client=client)
    click.echo(result)
    for name, stat in result.stat_per_dataset.items():
        click.echo(f"  {name:12} {stat:12.3f}")
    if arguments.out is not None:
        models.write(arguments.out, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except GammaflowError as error:
        sys.exit(f"Error: {error}")
