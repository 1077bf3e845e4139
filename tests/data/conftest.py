"""A small store of simulated observations that tests may damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from astropy.io import fits

from gammaflow.data import DataStore
from gammaflow.data.response_cache import RESPONSES
from gammaflow.data.simulation import simulate_survey

OBS_ID = 100001


@pytest.fixture(scope="session")
def pristine_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short observations; not to be changed."""
    return simulate_survey(tmp_path_factory.mktemp("store") / "survey", 3, seed=3, ontime=30.0).folder


@pytest.fixture
def store_folder(pristine_store: Path, tmp_path: Path) -> Path:
    """A copy of them that may be changed."""
    RESPONSES.clear()
    return Path(shutil.copytree(pristine_store, tmp_path / "survey"))


@pytest.fixture
def events_path(store_folder: Path) -> Path:
    """Event file of the first observation."""
    return Path(DataStore.from_dir(store_folder).locate(OBS_ID).find("events").path)


@pytest.fixture
def edit(events_path: Path) -> Callable[[Callable[[fits.HDUList], None]], None]:
    """Change the first observation's event file with astropy."""

    def apply(change: Callable[[fits.HDUList], None]) -> None:
        with fits.open(events_path, mode="update", memmap=False) as hdus:
            change(hdus)

    return apply
