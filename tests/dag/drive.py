"""A run of fake observations in a process of its own, for tests that kill it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gammaflow.dag.clusters import local_cluster
from gammaflow.dag.dask_engine import DaskEngine
from gammaflow.dag.engine import SerialEngine, Timeouts
from gammaflow.errors import GammaflowError, RunInterruptedError
from tests.dag.conftest import FakeRun


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--observations", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.0)
    options = parser.parse_args()
    run = FakeRun(options.folder, options.log, list(range(1, options.observations + 1)))
    run.seconds = options.seconds
    timeouts = Timeouts(task=60.0, workers=30.0, grace=5.0)
    try:
        if options.workers:
            with local_cluster(options.workers, dashboard=False) as client:
                run.run(DaskEngine(client, timeouts)).execute()
        else:
            run.run(SerialEngine(timeouts)).execute()
    except RunInterruptedError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the test reads it
        return 130
    except GammaflowError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the test reads it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
