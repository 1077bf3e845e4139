"""The ``gammaflow`` command.

This module imports next to nothing, and each command what it needs when it runs: ``gammaflow --help`` is to answer at
once.
"""

import click

from gammaflow.cli.convert import convert
from gammaflow.cli.exits import CommandLine
from gammaflow.cli.fit import fit
from gammaflow.cli.plan import plan
from gammaflow.cli.run import run
from gammaflow.cli.show import show
from gammaflow.cli.simulate import simulate
from gammaflow.cli.status import status

__all__ = ["main"]


@click.group(
    cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="gammaflow-survey", prog_name="gammaflow")
def main() -> None:
    """Gamma-ray event lists to stacked maps and fitted sources, on one laptop or on a cluster.

    \b
    gammaflow plan CONFIG.yaml             what would run
    gammaflow run CONFIG.yaml --run DIR    runs it; again: continues it
    gammaflow status DIR                   how it stands
    gammaflow show DIR                     what came out
    gammaflow fit DIR --models MODELS.yaml fits sources to it
    gammaflow convert SRC DST              a dataset from Zarr to FITS, or back

    Exit status: 0 done; 2 the configuration, the models or the usage is wrong; 3 more observations failed than
    allowed; 4 a fit did not converge; 130 interrupted; 1 anything else.
    """


for command in (run, plan, status, show, fit, simulate, convert):
    main.add_command(command)
