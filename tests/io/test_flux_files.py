"""Tables of flux points: FITS and ECSV, ours and those of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from gammaflow.data import GTI
from gammaflow.datasets import Dataset, Datasets, FluxPointsDataset, MapDataset
from gammaflow.errors import (
    CorruptFileError,
    DataError,
    MissingFileError,
    MissingHduError,
    SchemaError,
    StorageError,
    UnitError,
    UnsupportedError,
)
from gammaflow.io import read_datasets, read_flux_points, write_datasets, write_flux_points
from gammaflow.modeling import LogParabolaSpectralModel, Models, PowerLawSpectralModel, SkyModel
from tests.datasets.small import REFERENCE as TIME
from tests.datasets.small import any_dataset
from tests.datasets.test_flux_statistics import sed
from tests.io.test_gadf import edited
from tests.oracle import load_oracle

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "flux_points.json").read_text())
ENERGY = np.array(REFERENCE["table"]["e_ref"])
EDGES = np.append(REFERENCE["table"]["e_min"], REFERENCE["table"]["e_max"][-1])
ENDINGS = (".fits", ".fits.gz", ".ecsv", ".zarr")
GOOD_TIME = GTI([1e8, 1e8 + 1000], [1e8 + 900, 1e8 + 1800], TIME)

#: A file as the gamma-cat repository has them.
GAMMA_CAT = """# %ECSV 0.9
# ---
# datatype:
# - {name: e_ref, unit: TeV, datatype: float32, description: Reference energy}
# - {name: dnde, unit: cm-2 s-1 TeV-1, datatype: float32}
# - {name: dnde_errn, unit: cm-2 s-1 TeV-1, datatype: float32}
# - {name: dnde_errp, unit: cm-2 s-1 TeV-1, datatype: float32}
# - {name: dnde_ul, unit: cm-2 s-1 TeV-1, datatype: float32}
# meta: !!omap
# - {data_type: sed}
# - {reference_id: 2008A&A...477..353A}
# - {source_id: 49}
# - {telescope: hess}
# - {UL_CONF: 0.95}
e_ref dnde dnde_errn dnde_errp dnde_ul
1.81 1.33e-13 3.6e-14 4.1e-14 ""
0.388 2.94e-12 -6.1e-13 6.4e-13 ""
8.39 "" "" "" 4.4e-15
"""


def kinds():
    """Flux points with everything, and with as little as can be."""
    masks = {"mask_safe": np.arange(6) != 1, "mask_fit": np.arange(6) > 0}
    sqrt_ts = np.linspace(20, 1, 6)
    return {
        "everything": sed(
            "profile", gti=GOOD_TIME, meta={"instrument": "Müller", "n_sigma_ul": 2.5}, sqrt_ts=sqrt_ts, **masks
        ),
        "chi2": sed(stat_scan=None, norm_scan=None, stat=None),
        "gaps": sed("distrib", energy_min=0.9 * ENERGY, energy_max=1.05 * ENERGY),
        "off-centre": sed("censored", energy_min=EDGES[:-1] * 0.99, energy_max=EDGES[1:] * 0.99),
        "little": FluxPointsDataset.from_arrays("little", [1.0], [1e-12], dnde_err=[1e-13]),
    }  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", list(kinds()))
def test_round_trip_is_the_identity(kind, ending, tmp_path):
    dataset, path = kinds()[kind], tmp_path / f"d{ending}"
    dataset.write(path)
    for back in (Dataset.read(path), FluxPointsDataset.read(path)):
        assert back.data.identical(dataset.data)
        assert back.stat_type == dataset.stat_type
    if ending != ".zarr":
        back.write(tmp_path / f"again{ending}")
        assert (tmp_path / f"again{ending}").read_bytes() == path.read_bytes()
    with pytest.raises(SchemaError, match="not a MapDataset"):
        MapDataset.read(path)


@pytest.mark.parametrize("ending", [".fits", ".ecsv"])
@pytest.mark.parametrize("sed_type", ["dnde", "e2dnde", "flux", "eflux", "likelihood"])
def test_every_sed_type_says_the_same_to_others(sed_type, ending, tmp_path):
    """Read without our record, and without the columns that would give the answer away."""
    dataset, path = kinds()["everything"], tmp_path / f"d{ending}"
    write_flux_points(dataset, path, sed_type=sed_type)
    stem = "norm" if sed_type == "likelihood" else sed_type
    if ending == ".fits":
        table = Table.read(path, hdu=1)
    else:
        table = Table.read(path)
        table.meta.pop("gammaflow")
    others = [n for n in table.colnames if n.startswith("dnde") and stem != "dnde"]
    table.remove_columns(others)
    table.write(tmp_path / f"other{ending}")
    back = read_flux_points(tmp_path / f"other{ending}")
    assert back.name == "other"
    assert back.meta == {"n_sigma_ul": 2.5}
    for name in (
        "dnde",
        "dnde_err",
        "dnde_errn",
        "dnde_errp",
        "dnde_ul",
        "sqrt_ts",
        "is_ul",
        "mask_safe",
        "mask_fit",
    ):
        np.testing.assert_allclose(back.array(name), dataset.array(name), rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(back.data["energy_max"], dataset.data["energy_max"])
    assert (back.array("stat_scan") is not None) == (sed_type == "likelihood")
    if sed_type == "likelihood":
        back.stat_type = "profile"
        flux = 1.3 * dataset.dnde.values
        np.testing.assert_allclose(back.statistic.value(flux), dataset.statistic.value(flux), rtol=1e-9)


@pytest.mark.parametrize("sed_type", list(REFERENCE["conversions"]))
def test_conversions_are_those_of_gammapy(sed_type, tmp_path):
    case = REFERENCE["conversions"][sed_type]
    table = Table(meta={"SED_TYPE": sed_type})
    table["e_min"], table["e_max"] = EDGES[:-1] * u.TeV, EDGES[1:] * u.TeV
    for end, factor in (("", 1.0), ("_err", 0.1)):
        table[sed_type + end] = factor * np.array(case["values"]) * u.Unit(case["unit"])
    table.write(tmp_path / "d.ecsv")
    dataset = read_flux_points(tmp_path / "d.ecsv")
    np.testing.assert_allclose(dataset.energy, ENERGY, rtol=1e-12)
    np.testing.assert_allclose(dataset.dnde, case["dnde"], rtol=1e-9)
    np.testing.assert_allclose(dataset.error, case["dnde_err"], rtol=1e-9)


def test_another_reference_spectrum_gives_other_fluxes(tmp_path):
    model = PowerLawSpectralModel(index=3.0, amplitude="1e-12 cm-2 s-1 TeV-1", reference="1 TeV")
    flux = model.integral(EDGES[:-1] * u.TeV, EDGES[1:] * u.TeV)
    table = Table(
        {"e_min": EDGES[:-1] * u.TeV, "e_max": EDGES[1:] * u.TeV, "flux": flux, "flux_err": 0.1 * flux}
    )
    table.write(tmp_path / "d.ecsv")
    dataset = read_flux_points(tmp_path / "d.ecsv", reference=model)
    np.testing.assert_allclose(dataset.dnde, model(ENERGY * u.TeV).to_value("cm-2 s-1 TeV-1"), rtol=1e-12)
    usual = read_flux_points(tmp_path / "d.ecsv")
    assert (usual.dnde.values > 1.05 * dataset.dnde.values).all()


class TestOfOthers:
    def test_the_hawc_crab_as_the_oracle_has_it(self, gammapy_data):
        """Statistic at the start values and at the minimum of the joint fit of the Crab nebula."""
        dataset = Dataset.read(gammapy_data / "hawc" / "crab_flux" / "HAWC19_flux_points.fits")
        assert isinstance(dataset, FluxPointsDataset)
        assert dataset.mask.values.tolist() == [True] * 9 + [False]
        oracle = load_oracle("crab_joint")
        fitted = oracle["joint_fit"]["parameters"]
        found = {n.split(".")[-1]: v["value"] for n, v in fitted.items() if n.startswith("Crab")}
        spectrum = LogParabolaSpectralModel(
            amplitude=f"{found['amplitude']} cm-2 s-1 TeV-1", reference=f"{found['reference']} TeV",
            alpha=found["alpha"], beta=found["beta"],
        )  # fmt: skip
        dataset.models = SkyModel(spectrum, name="crab")
        assert dataset.stat_sum() == pytest.approx(oracle["stat_end"][2], abs=1e-4)
        start = Models.read(gammapy_data / "fermi-3fhl-crab" / "Fermi-LAT-3FHL_models.yaml")["Crab Nebula"]
        dataset.models = SkyModel(start.spectral_model, name="crab")
        assert dataset.stat_sum() == pytest.approx(oracle["stat_start"][2], rel=1e-9)

    def test_gamma_cat(self, tmp_path):
        (tmp_path / "g.ecsv").write_text(GAMMA_CAT)
        dataset = Dataset.read(tmp_path / "g.ecsv")
        np.testing.assert_allclose(dataset.energy, [0.388, 1.81, 8.39], rtol=1e-6)  # sorted
        np.testing.assert_allclose(dataset.array("dnde_errn")[:2], [6.1e-13, 3.6e-14], rtol=1e-6)
        assert dataset.is_ul.tolist() == [False, False, True]
        assert dataset.mask.values.tolist() == [True, True, False]
        assert dataset.meta["n_sigma_ul"] == pytest.approx(1.959964)
        dataset.stat_type = "censored"
        assert dataset.mask.values.all()

    def test_units_are_converted_and_photons_are_none(self, tmp_path):
        table = Table({
            "E_REF": [500.0, 2000.0] * u.GeV,
            "e2dnde": [3e-6, 1e-6] * u.Unit("MeV cm-2 s-1"),
            "e2dnde_err": [3e-7, 1e-7] * u.Unit("MeV cm-2 s-1"),
        })  # fmt: skip
        table.write(tmp_path / "d.fits")
        dataset = Dataset.read(tmp_path / "d.fits")
        np.testing.assert_allclose(dataset.energy, [0.5, 2.0])
        np.testing.assert_allclose(dataset.dnde, [3e-12 / 0.25, 1e-12 / 4])
        photons = Table({
            "e_ref": [1.0] * u.TeV,
            "dnde": [1e-8] * u.Unit("ph m-2 s-1 TeV-1"),
            "dnde_err": [1e-9] * u.Unit("ct m-2 s-1 TeV-1"),
        })  # fmt: skip
        photons.write(tmp_path / "p.ecsv")
        back = Dataset.read(tmp_path / "p.ecsv")
        np.testing.assert_allclose([back.dnde[0], back.error[0]], [1e-12, 1e-13])

    @pytest.mark.parametrize("sign", [-1.0, 1.0])
    def test_scans_of_the_log_likelihood(self, sign, tmp_path):
        """As fermipy has them (ln L less that of the best fit, each row on its norms), or with the sign turned."""
        norm = np.linspace(0.0, 3.0, 13)[None] * np.array([[1.0], [2.0]])
        half = 0.5 * ((norm - 1.2) / 0.3) ** 2
        table = Table({
            "e_ref": [10.0, 30.0] * u.GeV, "ref_dnde": [1e-9, 1e-10] * u.Unit("cm-2 s-1 TeV-1"),
            "norm": [1.2, 1.2], "norm_err": [0.3, 0.3], "norm_scan": norm, "dloglike_scan": sign * half,
            "loglike": [-1234.5, -99.0],
        })  # fmt: skip
        table.write(tmp_path / "d.fits")
        dataset = read_flux_points(tmp_path / "d.fits", stat_type="profile")
        flux = np.array([1e-9, 1e-10]) * [0.7, 1.9]
        np.testing.assert_allclose(
            dataset.statistic.value(flux), [(0.5 / 0.3) ** 2, (0.7 / 0.3) ** 2], rtol=1e-9
        )

    def test_a_scan_without_reference_fluxes_is_left_out_and_said(self, tmp_path, caplog):
        path = tmp_path / "d.ecsv"
        write_flux_points(kinds()["everything"], path)
        table = Table.read(path)
        table.meta = {"SED_TYPE": "dnde"}
        table.remove_columns(["ref_dnde"])
        table.write(path, overwrite=True)
        assert read_flux_points(path).array("stat_scan") is None
        assert "no reference fluxes" in caplog.text

    def test_limits_by_their_significance(self, tmp_path):
        table = Table(dict.fromkeys(("e_ref",), [1.0, 2.0, 3.0] * u.TeV))
        for name in ("dnde", "dnde_err", "dnde_ul"):
            table[name] = [1e-12, 1e-12, 1e-12] * u.Unit("cm-2 s-1 TeV-1")
        table["ts"] = [100.0, 3.9, 4.1]
        table.write(tmp_path / "d.ecsv")
        assert read_flux_points(tmp_path / "d.ecsv").is_ul.tolist() == [False, True, False]


class TestList:
    def test_a_list_of_datasets(self, tmp_path):
        datasets = Datasets([kinds()["everything"], any_dataset("MapDataset", 3, name="map")])
        write_datasets(datasets, tmp_path / "datasets.yaml")
        back = read_datasets(tmp_path / "datasets.yaml")
        assert [type(d) for d in back] == [FluxPointsDataset, MapDataset]
        assert back[0].data.identical(datasets[0].data)

    def test_an_entry_with_the_file_of_others(self, gammapy_data, tmp_path):
        file = gammapy_data / "hawc" / "crab_flux" / "HAWC19_flux_points.fits"
        (tmp_path / "datasets.yaml").write_text(
            f"datasets:\n- {{name: HAWC, type: FluxPointsDataset, filename: {file}}}\n"
        )
        assert (
            repr(read_datasets(tmp_path / "datasets.yaml")["HAWC"]) == "<FluxPointsDataset 'HAWC': 10 points>"
        )


class TestBadFiles:
    @pytest.fixture
    def file(self, tmp_path):
        kinds()["everything"].write(tmp_path / "d.fits")
        return tmp_path / "d.fits"

    @pytest.fixture
    def text(self, tmp_path):
        kinds()["everything"].write(tmp_path / "d.ecsv")
        return tmp_path / "d.ecsv"

    @pytest.mark.parametrize("kept", [0.1, 0.4, 0.6, 0.8, 0.97])
    def test_truncated(self, file, text, kept):
        content = file.read_bytes()
        for stop in (int(kept * len(content)), int(kept * len(content)) // 2880 * 2880):
            file.write_bytes(content[:stop])
            with pytest.raises(
                (CorruptFileError, MissingHduError), match=r"truncated|ends within|no HDU|no table"
            ):
                Dataset.read(file)
        lines = text.read_text()
        text.write_text(lines[: int(kept * len(lines))])
        with pytest.raises(CorruptFileError, match=r"cannot be read as ECSV|points, 6 were written"):
            Dataset.read(text)

    def test_whole_rows_that_are_missing_are_noticed(self, text):
        lines = text.read_text().splitlines()
        text.write_text("\n".join(lines[:-2]) + "\n")
        with pytest.raises(CorruptFileError, match="4 points, 6 were written"):
            Dataset.read(text)

    def test_files_of_another_kind(self, tmp_path):
        (tmp_path / "d.ecsv").write_text("components: []\n")
        with pytest.raises(CorruptFileError, match="cannot be read as ECSV"):
            Dataset.read(tmp_path / "d.ecsv")
        (tmp_path / "b.ecsv").write_bytes(b"SIMPLE  =\xff\xfe")
        with pytest.raises(CorruptFileError, match="no text"):
            Dataset.read(tmp_path / "b.ecsv")
        any_dataset("MapDataset").write(tmp_path / "m.fits")
        with pytest.raises(CorruptFileError, match="no table of flux points"):
            read_flux_points(tmp_path / "m.fits")
        for name in ("none.ecsv", "none.fits"):
            with pytest.raises(MissingFileError):
                read_flux_points(tmp_path / name)
        with pytest.raises(UnsupportedError, match="a MapDataset is no table"):
            any_dataset("MapDataset").write(tmp_path / "m.ecsv")

    @pytest.mark.parametrize("unit", ["s", "m2", "nonsense", None])
    @pytest.mark.parametrize("column", ["e_ref", "e_max", "ref_dnde", "norm_err"])
    def test_wrong_unit(self, file, column, unit, tmp_path):
        if column == "norm_err" and unit is None:
            pytest.skip("a norm has no unit")

        def change(hdus):
            hdus["FLUXPOINTS"].columns[column].unit = unit

        with pytest.raises(UnitError, match=column):
            Dataset.read(edited(file, change))

    @pytest.mark.parametrize(
        ("change", "error", "said"),
        [
            (lambda t: t.remove_columns(["dnde_err"]), DataError, "flux points without errors"),
            (lambda t: t.replace_column("dnde_err", t["dnde_err"] * np.nan), DataError, "without errors"),
            (lambda t: t.remove_columns(["dnde"]), MissingHduError, "no column dnde, e2dnde"),
            (lambda t: t.remove_columns(["e_ref"]), MissingHduError, "no column 'e_ref'"),
            (lambda t: t.rename_column("dnde", "flux"), MissingHduError, "no column 'e_min'"),
            (lambda t: t.meta.update(SED_TYPE="nufnu"), CorruptFileError, "the SED type is 'nufnu'"),
            (lambda t: t.meta.update(SED_TYPE="flux"), MissingHduError, "no column 'e_min'"),
            (lambda t: t.meta.update(UL_CONF=2.0), CorruptFileError, "UL_CONF is 2.0"),
            (lambda t: t.replace_column("e_ref", [1.0, 1.0] * u.TeV), DataError, "the same energy"),
            (lambda t: t.replace_column("e_ref", [-1.0, 1.0] * u.TeV), CorruptFileError, "not positive"),
            (lambda t: t.replace_column("dnde", ["a", "b"]), CorruptFileError, "holds no numbers"),
            (lambda t: t.add_column([56000.0, 56001.0], name="time_min"), UnsupportedError, "a light curve"),
            (lambda t: t.add_column(["x", "y"], name="is_ul"), CorruptFileError, "no truth values"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("ending", [".fits", ".ecsv"])
    def test_what_cannot_be_used_is_refused_with_its_place(self, change, error, said, ending, tmp_path):
        table = Table({
            "e_ref": [1.0, 2.0] * u.TeV, "dnde": [1e-12, 1e-13] * u.Unit("cm-2 s-1 TeV-1"),
            "dnde_err": [1e-13, 1e-14] * u.Unit("cm-2 s-1 TeV-1"),
        })  # fmt: skip
        change(table)
        path = tmp_path / f"bad{ending}"
        table.write(path)
        with pytest.raises(error, match=said) as caught:
            read_flux_points(path)
        assert f"bad{ending}" in str(caught.value)

    def test_a_scan_of_two_signs(self, tmp_path):
        table = Table({
            "e_ref": [1.0] * u.TeV, "ref_dnde": [1e-12] * u.Unit("cm-2 s-1 TeV-1"), "norm": [1.0], "norm_err": [0.1],
            "norm_scan": [[0.5, 1.0, 2.0]], "dloglike_scan": [[-3.0, 0.0, 4.0]],
        })  # fmt: skip
        table.write(tmp_path / "d.ecsv")
        with pytest.raises(CorruptFileError, match="all negative, or all positive"):
            read_flux_points(tmp_path / "d.ecsv")

    def test_a_damaged_record(self, file):
        def change(hdus):
            hdus["GAMMAFLOW"].data["RECORD"] = "{"

        with pytest.raises(CorruptFileError, match="record of the dataset"):
            Dataset.read(edited(file, change))

    @pytest.mark.parametrize("sed_type", ["nufnu", "flux", "likelihood"])
    def test_sed_types_that_cannot_be_written(self, sed_type, tmp_path):
        dataset = FluxPointsDataset.from_arrays("d", [1.0], [1e-12], dnde_err=[1e-13])
        with pytest.raises(UnsupportedError):
            write_flux_points(dataset, tmp_path / "d.fits", sed_type=sed_type)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["d.fits", "d.ecsv"])
    def test_nothing_is_replaced_unasked(self, name, tmp_path):
        kinds()["chi2"].write(tmp_path / name)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(StorageError, match="there already"):
            kinds()["little"].write(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
        kinds()["little"].write(tmp_path / name, overwrite=True)
        assert (tmp_path / name).read_bytes() != before


def test_the_table_comes_first(tmp_path):
    """astropy, and Gammapy with it, reads the first table that it finds."""
    kinds()["everything"].write(tmp_path / "d.fits")
    with fits.open(tmp_path / "d.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "FLUXPOINTS", "GTI", "GAMMAFLOW"]
