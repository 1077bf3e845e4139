"""Fits of spectra and of mixed collections: through runs, on workers, with the same bits everywhere."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from gammaflow import Analysis
from gammaflow.dag.clusters import local_cluster
from gammaflow.dag.fit_datasets import EnergyRange, stored_datasets, within
from gammaflow.dag.receipts import Receipt
from gammaflow.dag.status import status
from gammaflow.data.simulation import simulate_survey
from gammaflow.datasets import SpectrumDatasetOnOff
from gammaflow.errors import UnsupportedError
from gammaflow.fit import Fit, FitResult
from gammaflow.io import write_dataset
from gammaflow.modeling import Models, PowerLawSpectralModel, SkyModel
from tests.dag.test_fit_on_workers import same_bits
from tests.dag.test_spectrum_runs import RINGS, SPECTRA, configured
from tests.datasets.small import any_dataset
from tests.fit.test_spectra import everything
from tests.likelihood.spectra import flux_points, on_off

RUNS = 4


@pytest.fixture(scope="module")
def undisturbed() -> FitResult:
    """All five kinds together, in this process."""
    return Fit().run(*everything())


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_two_workers_give_the_bits_of_none(undisturbed: FitResult, shared_client: Client) -> None:
    datasets, models = everything()
    assert same_bits(Fit().run(datasets, models, client=shared_client), undisturbed)


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_one_worker_gives_the_bits_of_none(undisturbed: FitResult) -> None:
    datasets, models = everything()
    with local_cluster(1, memory_limit="1 GiB", dashboard=False) as client:
        assert same_bits(Fit().run(datasets, models, client=client), undisturbed)


@pytest.mark.cluster
@pytest.mark.chaos
@pytest.mark.timeout(120)
def test_a_killed_worker_changes_no_bit(undisturbed: FitResult, fresh_client: Client) -> None:
    victims = list(fresh_client.run(os.getpid).values())
    killed: list[int] = []

    def callback(step: Any) -> None:
        if step.trip == 2 and not killed:
            os.kill(victims[0], signal.SIGKILL)
            killed.append(victims[0])

    datasets, models = everything()
    found = Fit(callback=callback).run(datasets, models, client=fresh_client)
    assert killed
    assert same_bits(found, undisturbed)


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_many_spectra_dealt_to_workers_give_the_bits_of_none(shared_client: Client) -> None:
    """In a shard they are evaluated together, in another company on each number of workers."""
    datasets: list[Any] = [flux_points(), *(on_off(f"obs-{i}", seed=i, level=0.2 + i) for i in range(23))]
    here = Fit().run(datasets, source())
    assert same_bits(Fit().run(datasets, source(), client=shared_client), here)


# --- runs ---------------------------------------------------------------------------------------------------


def source() -> Models:
    return Models([SkyModel(PowerLawSpectralModel(amplitude="1e-12 cm-2 s-1 TeV-1"), name="crab")])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey") / "survey"
    simulate_survey(folder, RUNS, seed=3, ontime=600.0)
    return folder


@pytest.fixture(scope="module")
def spectra(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """A run of ON/OFF spectra, stacked."""
    folder = tmp_path_factory.mktemp("spectra")
    analysis = Analysis(configured(folder, store, SPECTRA), run=folder / "run")
    analysis.execute()
    return analysis


@pytest.mark.parametrize("which", ["stacked", "joint"])
def test_the_spectra_of_a_run_are_fitted(spectra: Analysis, which: Any) -> None:
    result = spectra.fit(source(), which)
    assert result.converged, result.message
    assert len(result.stat_per_dataset) == (1 if which == "stacked" else RUNS)
    if which == "stacked":
        datasets = [spectra.stacked]
    else:
        standing = status(spectra.folder)
        datasets = [d.load() for d in stored_datasets(spectra.folder.path, standing.observations)]
    assert all(isinstance(d, SpectrumDatasetOnOff) for d in datasets)
    direct = Fit().run(datasets, source())
    assert result.values == direct.values
    assert result.total_stat == direct.total_stat
    written = json.loads((result.folder / "result.json").read_text())
    assert written["total_stat"] == result.total_stat


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_the_spectra_of_a_run_are_fitted_on_workers(spectra: Analysis, shared_client: Client) -> None:
    here = spectra.fit(source(), "joint", name="here")
    there = Analysis(spectra.config, client=shared_client, run=spectra.folder.path)
    assert same_bits(there.fit(source(), "joint", name="there"), here)


def test_a_range_of_energies_holds_for_spectra(spectra: Analysis) -> None:
    dataset = spectra.stacked
    edges = dataset.geometry.energy_axis.edges
    part = within(dataset, EnergyRange(float(edges[2]) * 0.99, None))
    np.testing.assert_array_equal(part.array("mask_fit"), np.arange(len(edges) - 1) >= 2)
    standing = status(spectra.folder)
    (stored,) = stored_datasets(
        spectra.folder.path, standing.stacked, EnergyRange(float(edges[2]) * 0.99, None)
    )
    np.testing.assert_array_equal(stored.load().array("mask_fit"), part.array("mask_fit"))
    limited, whole = Fit().run([stored], source()), Fit().run(dataset, source())
    assert limited.total_stat != whole.total_stat


def test_maps_with_a_ring_background_are_fitted(store: Path, tmp_path: Path) -> None:
    analysis = Analysis(configured(tmp_path, store, RINGS), run=tmp_path / "run")
    analysis.execute()
    models = Models.read(store / "models.yaml") if (store / "models.yaml").exists() else placed()
    models.freeze()
    for model in models.sky_models:
        model.spectral_model.amplitude.frozen = False
    result = analysis.fit(models, "joint")
    assert len(result.stat_per_dataset) == RUNS
    assert np.isfinite(result.total_stat)
    stacked = analysis.fit(models, "stacked")
    assert np.isfinite(stacked.total_stat)


def placed() -> Models:
    from gammaflow.modeling import PointSpatialModel

    place = PointSpatialModel(lon_0="330 deg", lat_0="0 deg", frame="galactic")
    return Models([SkyModel(PowerLawSpectralModel(), place, name="source")])


def test_what_holds_no_counts_is_refused(tmp_path: Path, spectra: Analysis) -> None:
    group = tmp_path / "points.zarr"
    write_dataset(flux_points(), group)
    (receipt,) = status(spectra.folder).stacked
    elsewhere = Receipt(**{**vars_of(receipt), "group": str(group.relative_to(tmp_path))})
    with pytest.raises(UnsupportedError, match="a fit of a FluxPointsDataset of a run"):
        stored_datasets(tmp_path, [elsewhere])


def vars_of(receipt: Receipt) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: getattr(receipt, field.name) for field in fields(receipt)}


def test_every_kind_of_counts_travels_by_reference(tmp_path: Path, spectra: Analysis) -> None:
    (receipt,) = status(spectra.folder).stacked
    for tag in ("MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff"):
        group = tmp_path / f"{tag}.zarr"
        digests = write_dataset(any_dataset(tag), group).digest
        made = Receipt(**{**vars_of(receipt), "group": group.name, "arrays": digests})
        (stored,) = stored_datasets(tmp_path, [made])
        assert stored.load().tag == tag
        assert stored.has_background == ("OnOff" not in tag)
