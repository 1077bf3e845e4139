"""The schema checker: everything wrong, at once."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gammaflow.datasets import schema
from gammaflow.errors import SchemaError
from tests.datasets.small import random_dataset, whole_geometry


@pytest.fixture
def data() -> xr.Dataset:
    return random_dataset(whole_geometry()).to_xarray().copy(deep=True)


def issues_of(data: xr.Dataset, **options: bool) -> str:
    with pytest.raises(SchemaError) as error:
        schema.check(data, "here", **options)
    assert "here" in str(error.value)
    return "\n".join(error.value.issues)


def test_a_good_dataset_passes(data):
    schema.check(data, values=True)


def test_all_faults_are_told_at_once(data):
    data = (
        data.assign_attrs(schema_version=99)
        .drop_attrs(deep=False)
        .assign_attrs(dataset_type="MapDataset", schema_version=99)
    )
    data["counts"] = data["counts"].astype("float64")
    data["exposure"] = data["exposure"].drop_attrs().assign_attrs(units="cm2 s")
    data["psf"] = data["psf"].transpose("rad", "energy_true", "y_irf", "x_irf")
    data["surprise"] = ("y", np.zeros(12))
    data["edisp_exposure"] = data["edisp_exposure"].astype("float64")
    data = data.drop_vars(["psf_exposure", "zenith", "rad_max"])
    data["energy_min"] = data["energy_min"] * 1.1
    data["gti_stop"] = data["gti_stop"] - 1e6
    data["tstart"] = data["tstart"].drop_attrs().assign_attrs(units="s")
    data["wcs"] = data["wcs"].assign_attrs(NAXIS1=7)
    del data["wcs_irf"].attrs["CRPIX2"]
    found = issues_of(data)
    for expected in (
        "attribute 'name' is missing",
        "schema version 99 is not 1",
        "counts: number type float64, should be int32",
        "exposure: units 'cm2 s', should be 'm2 s'",
        "psf: dimensions ('rad', 'energy_true', 'y_irf', 'x_irf')",
        "variable 'surprise' is not part of a MapDataset",
        "edisp_exposure: number type float64",
        "psf: needs 'psf_exposure'",
        "observation column 'zenith' is missing",
        "coordinate 'rad_max' is missing",
        "energy: bin 0 ends at",
        "gti: interval 0 ends before it starts",
        "tstart: attribute 'reference_time' is missing",
        "wcs: NAXIS1 is 7, dimension x has 16",
        "wcs_irf: FITS card CRPIX2 is missing",
    ):
        assert expected in found, found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.assign_attrs(dataset_type="Cube"), "dataset type 'Cube' is not one of MapDataset"),
        (lambda d: d.reset_coords("energy_min"), "energy_min: should be a coordinate"),
        (lambda d: d.set_coords("counts"), "counts: should not be a coordinate"),
        (lambda d: d.isel(energy=slice(0, 0)), "energy: has no bins"),
        (
            lambda d: d.assign_coords(energy=("energy", [0.05, 1.0, 5.0], d["energy"].attrs)),
            "energy: a centre lies",
        ),
        (lambda d: d.drop_vars("energy"), "coordinate 'energy' is missing"),
        (lambda d: d.isel(x=slice(0, 3)), "wcs: NAXIS1 is 16, dimension x has 3"),
    ],
)
def test_single_faults(data, change, expected):
    assert expected in issues_of(change(data))


def test_times_have_one_reference(data):
    data["tstop"].attrs["reference_time"] = "1999-01-01T00:00:00"
    assert "different reference times" in issues_of(data)


def test_values_are_looked_at_when_asked_for(data):
    data["counts"][0, 0, 0] = -3
    data["exposure"][0, 0, 0] = np.nan
    data["edisp"][0, 0, 0, 0] = np.inf
    data["mask_safe"][0, 1, :2] = [True, False]
    data["background"][0, 1, :2] = np.nan
    schema.check(data)
    found = issues_of(data, values=True)
    assert "counts: 1 values are negative" in found
    assert "exposure: 1 values are negative" in found
    assert "edisp: 1 values are not finite" in found
    assert "background: 1 values are not finite" in found


def test_every_type_has_a_layout_whose_needs_it_can_meet():
    assert set(schema.LAYOUTS) == {
        "MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff", "FluxPointsDataset",
    }  # fmt: skip
    for kind, layout in schema.LAYOUTS.items():
        dims = {d for v in layout.variables.values() for dims in v.dims for d in dims}
        for name, variable in {**layout.variables, **layout.coordinates}.items():
            assert set(variable.needs) <= set(layout.variables), (kind, name)
            assert np.dtype(variable.dtype).kind in "ifb", (kind, name)
        if kind.startswith("Spectrum"):
            assert not dims & {"y", "x", "y_irf", "x_irf", "rad"}
    assert {"counts_off", "acceptance", "acceptance_off"} <= set(schema.LAYOUTS["MapDatasetOnOff"].variables)
    assert "background" not in schema.LAYOUTS["SpectrumDatasetOnOff"].variables


def test_a_spectrum_and_flux_points_pass_on_their_own_layouts(data):
    axes = [c for n in ("energy", "energy_true") for c in (n, f"{n}_min", f"{n}_max")]
    spectrum = xr.Dataset(
        {
            "counts": ("energy", np.zeros(3, "int32")),
            "exposure": ("energy_true", np.zeros(4, "float32"), {"units": "m2 s"}),
            "edisp": (("energy_true", "energy"), np.zeros((4, 3), "float32")),
            "edisp_exposure": ("energy_true", np.zeros(4, "float32"), {"units": "m2 s"}),
        },
        coords={
            **{n: data[n].variable for n in axes},
            "wcs": ((), np.int32(0), {"region": "icrs;circle(1,2,3)"}),
        },
        attrs={"name": "s", "dataset_type": "SpectrumDataset", "schema_version": 1},
    )
    schema.check(spectrum)
    assert "attribute 'region' is missing" in issues_of(spectrum.assign_coords(wcs=((), np.int32(0))))
    points = xr.Dataset(
        {"dnde": ("energy", np.ones(3), {"units": "cm-2 s-1 TeV-1"})},
        coords={"energy": data["energy"].variable},
        attrs={"name": "f", "dataset_type": "FluxPointsDataset", "schema_version": 1},
    )
    schema.check(points)
    assert "variable 'dnde' is missing" in issues_of(points.drop_vars("dnde"))
