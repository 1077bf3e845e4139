"""Engines under contract, and runs on fake observations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client

from gammaflow.dag.callbacks import History
from gammaflow.dag.clusters import local_cluster
from gammaflow.dag.dask_engine import DaskEngine
from gammaflow.dag.dispatch import Pace
from gammaflow.dag.engine import Engine, SerialEngine, Timeouts
from gammaflow.dag.plan import Plan, make_plan
from gammaflow.dag.policy import ErrorPolicy
from gammaflow.dag.run import Run
from gammaflow.dag.tree import Position
from tests.dag import fake_tasks
from tests.dag.fake_tasks import FakeSetup

PACE = Pace(tick=0.1, retry_delay=0.01)


@pytest.fixture(scope="session")
def shared_client() -> Iterator[Client]:
    """A cluster of two processes that no test harms."""
    with local_cluster(2, memory_limit="1 GiB", dashboard=False) as client:
        yield client


@pytest.fixture
def fresh_client() -> Iterator[Client]:
    """A cluster of two processes for a test that kills them."""
    with local_cluster(2, memory_limit="1 GiB", dashboard=False) as client:
        yield client


MakeEngine = Callable[..., Engine]


@pytest.fixture(params=["serial", pytest.param("dask", marks=pytest.mark.cluster)])
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    """Makes an engine of each kind."""
    if request.param == "serial":
        return lambda timeouts=None: SerialEngine(timeouts)
    client = request.getfixturevalue("shared_client")
    return lambda timeouts=None: DaskEngine(client, timeouts)


class FakeRun:
    """A run folder with fake observations, run as often as wanted."""

    def __init__(self, folder: Path, log: Path, numbers: list[int], fan_in: int = 3) -> None:
        log.mkdir(exist_ok=True)
        self.folder = folder
        self.log = log
        self.numbers = numbers
        self.fan_in = fan_in
        self.codes: dict[str, list[str]] = {}
        self.seconds = 0.0
        self.ingredients: dict[str, object] = {"mask": "a"}
        self.stacked = True
        self.keep_observations = True
        self.seed_by_mask = False
        self.history = History()

    def plan(self) -> Plan:
        observations = fake_tasks.observations(self.numbers)
        places = {o.obs_id: Position(o.obs_id, o.ra_pnt or 0.0, o.dec_pnt or 0.0) for o in observations}
        return make_plan(
            observations,
            ingredients=self.ingredients,
            positions=places,
            fan_in=self.fan_in,
            stacked=self.stacked,
            setup=FakeSetup(
                self.log, self.codes, self.seconds, str(self.ingredients["mask"]) if self.seed_by_mask else ""
            ),
            keep_observations=self.keep_observations,
        )

    def run(self, engine: Engine, *, retries: int = 2, allow_failed: int = 0) -> Run:
        self.history = History()
        return Run(
            self.folder,
            self.plan(),
            engine,
            fake_tasks.FUNCTIONS,
            policy=ErrorPolicy(retries, allow_failed),
            callbacks=[self.history],
            pace=PACE,
        )

    def invocations(self) -> dict[str, int]:
        return fake_tasks.invocations(self.log)

    def forget_invocations(self) -> None:
        for path in self.log.iterdir():
            path.unlink()

    def result(self) -> bytes:
        return (self.folder / "stacked" / "stacked.zarr" / "values.npy").read_bytes()


@pytest.fixture
def fake_run(tmp_path: Path) -> FakeRun:
    """Twenty fake observations."""
    return FakeRun(tmp_path / "run", tmp_path / "log", list(range(1, 21)))


@contextmanager
def no_leftovers(folder: Path) -> Iterator[None]:
    """Nothing temporary may be left in a run folder, and no lock."""
    yield
    left = [*folder.rglob(".*"), *folder.glob("run.lock")]
    assert not left


@pytest.fixture
def timeouts() -> Timeouts:
    """Short ones."""
    return Timeouts(task=2.0, workers=4.0, stall=20.0, answer=20.0, grace=5.0)
