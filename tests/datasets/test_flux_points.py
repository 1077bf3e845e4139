"""Flux points: chi2 against spectral models, limits left out."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from gammaflow.data import GTI
from gammaflow.datasets import Dataset, FluxPointsDataset
from gammaflow.errors import DataError, GeometryError, SchemaError, UnsupportedError
from gammaflow.modeling import ExpDecayTemporalModel, FoVBackgroundModel, PowerLawSpectralModel, SkyModel

ENERGY = np.array([0.5, 1.0, 2.0, 4.0])
FLUX = np.array([4.2e-12, 1.1e-12, 2.4e-13, np.nan])
ERROR = np.array([2e-13, 1e-13, 5e-14, np.nan])


def points(**changed) -> FluxPointsDataset:
    columns = {
        "dnde_err": ERROR,
        "dnde_ul": np.array([np.nan, np.nan, 4e-13, 1e-13]),
        "is_ul": np.array([False, False, True, True]),
    }
    return FluxPointsDataset.from_arrays("sed", ENERGY, FLUX, **{**columns, **changed})


@pytest.fixture
def model() -> SkyModel:
    return SkyModel(
        PowerLawSpectralModel(index=2.0, amplitude="1e-12 cm-2 s-1 TeV-1", reference="1 TeV"), name="src"
    )


def test_chi2_of_the_points_that_are_no_limits(model):
    dataset = points(models=model)
    predicted = 1e-12 * ENERGY**-2.0
    np.testing.assert_allclose(dataset.flux_pred(), predicted, rtol=1e-12)
    expected = ((FLUX - predicted) / ERROR)[:2] ** 2
    np.testing.assert_allclose(dataset.stat_array(), [*expected, 0, 0], rtol=1e-12)
    assert dataset.stat_sum() == pytest.approx(expected.sum(), rel=1e-12)
    assert dataset.mask.values.tolist() == [True, True, False, False]
    chosen = points(models=model, mask_fit=np.array([True, False, True, True]))
    assert chosen.stat_sum() == pytest.approx(expected[0], rel=1e-12)
    residuals = dataset.residuals("diff/model").values
    np.testing.assert_allclose(residuals[:2], (FLUX / predicted - 1)[:2])
    assert np.isnan(residuals[2:]).all()


def test_errors_of_two_sides_are_averaged_where_there_is_no_other():
    dataset = points(dnde_err=None, dnde_errn=ERROR, dnde_errp=3 * ERROR)
    np.testing.assert_allclose(dataset.error, 2 * ERROR)
    one = np.array([1e-13, np.nan, np.nan, np.nan])
    mixed = points(dnde_err=one, dnde_errn=ERROR, dnde_errp=3 * ERROR)
    np.testing.assert_allclose(mixed.error, [1e-13, *2 * ERROR[1:]])


def test_residuals_and_statistic_leave_out_what_is_not_safe(model):
    dataset = points(models=model, mask_safe=np.array([False, True, True, True]))
    assert dataset.mask.values.tolist() == [False, True, False, False]
    predicted = 1e-12 * ENERGY**-2.0
    assert dataset.stat_sum() == pytest.approx(((FLUX - predicted) / ERROR)[1] ** 2)
    assert np.isfinite(dataset.residuals()).values.tolist() == [False, True, False, False]
    dataset.stat_type = "distrib"
    assert dataset.mask.values.tolist() == [False, True, True, True]
    assert np.isfinite(dataset.residuals()).values.tolist() == [False, True, False, False]  # a limit has none


def test_a_model_that_varies_counts_with_its_mean_over_the_good_time(model):
    gti = GTI.create([0] * u.s, [7200] * u.s, "2020-01-01T00:00:00")
    decay = ExpDecayTemporalModel(t0="1 h", t_ref=f"{gti.time_start[0].utc.mjd} d")
    model = SkyModel(model.spectral_model, temporal_model=decay, name="src")
    steady, varying = points(gti=gti), points(gti=gti, models=model)
    steady.models = SkyModel(model.spectral_model, name="src")
    mean = 0.5 * (1 - np.exp(-2))
    np.testing.assert_allclose(varying.flux_pred(), mean * steady.flux_pred(), rtol=1e-6)
    with pytest.raises(UnsupportedError, match="no good time intervals"):
        points(models=model).flux_pred()


def test_columns_can_be_replaced_and_taken_away(model):
    dataset = points(models=model, gti=GTI.create([0] * u.s, [7200] * u.s, "2020-01-01T00:00:00"))
    other = dataset.with_columns(mask_fit=np.array([True, False, True, True]), dnde_ul=None, is_ul=None)
    assert other.mask_fit.values.tolist() == [True, False, True, True]
    assert other.array("dnde_ul") is None
    assert other.sky_models == dataset.sky_models
    assert (other.gti.start == dataset.gti.start).all()
    assert dataset.mask_fit is None
    with pytest.raises(SchemaError, match="'flux'"):
        dataset.with_columns(flux=ERROR)


def test_bins_may_have_gaps():
    dataset = points(energy_min=ENERGY * 0.9, energy_max=ENERGY * 1.1)
    np.testing.assert_array_equal(dataset.data["energy_max"], ENERGY * 1.1)
    with pytest.raises(SchemaError, match="energy: a centre lies outside its bin"):
        points(energy_min=ENERGY * 1.05, energy_max=ENERGY * 1.1)


def test_units_are_converted():
    dataset = FluxPointsDataset.from_arrays(
        "sed", [500, 1000] * u.GeV, [1e-8, 1e-9] * u.Unit("m-2 s-1 TeV-1"),
        dnde_err=[1e-9, 1e-10] * u.Unit("m-2 s-1 TeV-1"), energy_min=[300, 700] * u.GeV, energy_max=[700, 2000] * u.GeV,
    )  # fmt: skip
    np.testing.assert_allclose(dataset.energy, [0.5, 1.0])
    np.testing.assert_allclose(dataset.dnde, [1e-12, 1e-13])
    np.testing.assert_allclose(dataset.data["energy_max"], [0.7, 2.0])


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: FluxPointsDataset.from_arrays("sed", ENERGY, FLUX), DataError, "without errors"),
        (lambda: points(dnde_err=np.full(4, np.nan)), DataError, "sed: flux points without errors"),
        (lambda: points(dnde_err=np.zeros(4)), DataError, "without errors"),
        (lambda: points().data.drop_vars("dnde_err").pipe(Dataset.from_xarray), DataError, "without errors"),
        (
            lambda: FluxPointsDataset.from_arrays("sed", ENERGY[::-1], FLUX, dnde_err=ERROR),
            DataError,
            "increase",
        ),
        (lambda: points(dnde_err=ERROR[:2]), SchemaError, "dnde_err: shape"),
        (lambda: points(flux=ERROR), SchemaError, "'flux'"),
        (lambda: points(dnde_err=ERROR * u.m), DataError, "unit m"),
        (
            lambda: setattr(points(), "models", FoVBackgroundModel(dataset_name="sed")),
            UnsupportedError,
            "background",
        ),
        (lambda: points().slice_by_energy(10.0, 20.0), GeometryError, "no point"),
    ],
)
def test_what_cannot_be_used_is_refused(make, error, said):
    with pytest.raises(error, match=said):
        make()


def test_round_trip_copy_and_slice(model):
    dataset = points(models=model)
    back = Dataset.from_xarray(dataset.to_xarray())
    assert type(back) is FluxPointsDataset
    assert back.data.identical(dataset.data)
    copy = dataset.copy("other")
    copy.sky_models[0].parameters["index"].value = 3.0
    assert dataset.sky_models[0].parameters["index"].value == 2.0
    part = dataset.slice_by_energy("0.9 TeV", 3.0)
    assert part.energy.tolist() == [1.0, 2.0]
    assert part.sky_models == dataset.sky_models


def test_print(model):
    text = str(points(models=model))
    assert "Number of total flux points     : 4 \n" in text
    assert "Number of fit bins              : 2 \n" in text
    assert "Fit statistic type              : chi2\n" in text
