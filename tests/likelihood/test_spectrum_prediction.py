"""Counts that sources are expected to give in spectra, and what datasets say of themselves with models."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.time import Time

from gammaflow.errors import UnsupportedError
from gammaflow.likelihood import npred, npred_signal, npred_source, residuals, stat_sum
from gammaflow.likelihood.response import overlap_fractions
from gammaflow.modeling import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    LinearTemporalModel,
    Models,
    PointSpatialModel,
    PowerLawNormSpectralModel,
)
from gammaflow.stats import wstat
from tests.datasets.small import any_dataset
from tests.likelihood.spectra import geometry, on_off, on_off_map, power_law, spectrum


def point(lon: float = 83.63, lat: float = 22.01) -> PointSpatialModel:
    return PointSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg")


def blob(lon: float, sigma: float) -> GaussianSpatialModel:
    return GaussianSpatialModel(lon_0=f"{lon} deg", lat_0="22.01 deg", sigma=f"{sigma} deg")


def test_exposure_and_energy_dispersion_act_in_their_order() -> None:
    dataset, source = on_off(), power_law()
    fluxes = source.spectral_model.integral_values(np.asarray(dataset.geometry.energy_axis_true.edges))
    edisp, exposure = (np.asarray(dataset.array(n), dtype=np.float64) for n in ("edisp", "exposure"))
    expected = np.einsum("k,k,ke->e", fluxes, exposure, edisp)
    np.testing.assert_allclose(npred_source(dataset, source), expected, rtol=1e-13)
    np.testing.assert_allclose(npred_signal(dataset, [source, source.copy("b")]), 2 * expected, rtol=1e-13)
    assert expected.sum() > 100


@pytest.mark.parametrize(
    ("spatial", "seen"),
    [
        (None, True),
        (point(), True),
        (point(83.73, 22.01), True),  # inside the circle of 0.11 deg
        (point(83.63, 22.15), False),
        (blob(83.63, 0.2), True),  # all of it counts, however large
        (blob(84.1, 0.1), True),  # 0.43 deg off: the disk of five sigma touches
        (blob(84.6, 0.1), False),
    ],
)
def test_a_source_counts_whole_where_it_reaches_the_region(spatial: object, seen: bool) -> None:
    """As in Gammapy, where a spectrum has no point spread function."""
    dataset = on_off()
    alone = npred_source(dataset, power_law())
    found = npred_source(dataset, power_law(spatial=spatial))
    np.testing.assert_array_equal(found, alone if seen else 0.0)


def test_a_region_that_is_a_point_holds_every_source() -> None:
    dataset = on_off(where=geometry(region="icrs;point(83.63,22.01)"))
    assert npred_source(dataset, power_law(spatial=point(83.63, 30.0))).sum() > 0


def test_responses_that_do_not_act() -> None:
    dataset = on_off()
    true, reco = dataset.geometry.energy_axis_true.edges, dataset.geometry.energy_axis.edges
    exposure = np.asarray(dataset.array("exposure"), dtype=np.float64)
    fluxes = power_law().spectral_model.integral_values(np.asarray(true))
    shares = overlap_fractions(true, reco)
    found = npred_source(dataset, power_law(apply_irf={"edisp": False}))
    np.testing.assert_allclose(found, (fluxes * exposure) @ shares, rtol=1e-13)
    np.testing.assert_allclose(
        npred_source(dataset.with_arrays(edisp=None, edisp_exposure=None), power_law()), found, rtol=1e-13
    )


def test_a_dispersion_over_migration_is_a_kernel() -> None:
    dataset = any_dataset("SpectrumDatasetOnOff", migra=True)
    found = npred_source(dataset, power_law())
    assert found.shape == dataset.data_shape
    assert (found > 0).all()


def test_the_mean_of_a_temporal_model_multiplies() -> None:
    dataset = any_dataset("SpectrumDatasetOnOff")
    reference = Time(dataset.gti.reference).mjd
    varying = LinearTemporalModel(alpha=0.25, beta="0 s-1", t_ref=f"{reference} d")
    with pytest.raises(UnsupportedError, match="free temporal parameters: alpha, beta"):
        npred_source(dataset, power_law(temporal_model=varying))
    varying.freeze()
    found = npred_source(dataset, power_law(temporal_model=varying))
    np.testing.assert_allclose(found, 0.25 * npred_source(dataset, power_law()), rtol=1e-9)


@pytest.mark.parametrize("make", [on_off, spectrum, on_off_map])
def test_a_dataset_says_the_same_of_itself(make: object) -> None:
    dataset = make()
    model = power_law(spatial=point(83.6, 22.0))
    models: list = [model]
    if dataset.stat_type == "cash":
        models.append(FoVBackgroundModel(PowerLawNormSpectralModel(norm=1.3), dataset_name="one"))
    expected = npred(dataset, models)
    dataset.models = Models(models)
    np.testing.assert_allclose(dataset.npred(), expected, rtol=1e-12)
    assert dataset.stat_sum() == pytest.approx(stat_sum(dataset, models), rel=1e-12)
    np.testing.assert_allclose(
        dataset.residuals("diff/sqrt(model)"), residuals(dataset, models, "diff/sqrt(model)"), rtol=1e-9
    )
    assert dataset.npred_signal().values.sum() > 10


def test_the_statistic_of_a_measured_background_is_w() -> None:
    dataset = on_off()
    signal = npred_signal(dataset, [power_law()])
    bins = wstat(dataset.counts.values, dataset.counts_off.values, dataset.alpha.values, signal)
    expected = bins[dataset.mask_safe.values].sum()
    assert stat_sum(dataset, [power_law()]) == pytest.approx(expected, rel=1e-12)
