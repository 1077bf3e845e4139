"""Responses in the GADF layout: what is read, what is refused, and that writing is the inverse of reading."""

import pickle

import numpy as np
import pytest
from astropy.io import fits

from gammaflow.errors import (
    CorruptFileError,
    InvalidResponseError,
    MissingHduError,
    UnitError,
    UnsupportedError,
)
from gammaflow.irf import (
    PSF3D,
    Background2D,
    Background3D,
    EffectiveAreaTable2D,
    EnergyDependentMultiGaussPSF,
    EnergyDispersion2D,
    IrfAxis,
    PSFKing,
    RadMax2D,
    hdu_class_of,
    read_irf,
)
from gammaflow.irf.gadf import parse_unit

RNG = np.random.default_rng(7)
TRUE = IrfAxis.from_edges(np.geomspace(0.1, 100, 6), "energy_true", "log")
RECO = IrfAxis.from_edges(np.geomspace(0.1, 100, 5), "energy", "log")
OFFSET = IrfAxis.from_nodes([0.0, 1.0, 2.5], "offset", "lin")
RAD = IrfAxis.from_edges(np.linspace(0, 0.5, 8), "rad", "lin")
MIGRA = IrfAxis.from_edges(np.linspace(0.2, 3, 10), "migra", "lin")
LON = IrfAxis.from_edges(np.linspace(-3, 3, 7), "fov_lon", "lin")
LAT = IrfAxis.from_edges(np.linspace(-2, 2, 9), "fov_lat", "lin")


def random(*axes):
    return RNG.uniform(0.5, 2.0, tuple(axis.nbin for axis in axes)).astype(np.float32)


def responses():
    parameters = {name: random(TRUE, OFFSET) for name in EnergyDependentMultiGaussPSF.parameters}
    return [
        EffectiveAreaTable2D(
            [TRUE, OFFSET], random(TRUE, OFFSET), meta={"LO_THRES": 0.5, "TELESCOP": "TEST"}
        ),
        EnergyDispersion2D([TRUE, MIGRA, OFFSET], random(TRUE, MIGRA, OFFSET)),
        PSF3D([TRUE, OFFSET, RAD], random(TRUE, OFFSET, RAD)),
        EnergyDependentMultiGaussPSF([TRUE, OFFSET], parameters),
        PSFKing([TRUE, OFFSET], {"gamma": random(TRUE, OFFSET) + 1, "sigma": random(TRUE, OFFSET)}),
        Background2D([RECO, OFFSET], random(RECO, OFFSET)),
        Background3D([RECO, LON, LAT], random(RECO, LON, LAT), fov_alignment="ALTAZ"),
        RadMax2D([RECO, OFFSET], random(RECO, OFFSET), is_pointlike=True),
    ]


def on_disk(hdu, tmp_path):
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "irf.fits")
    with fits.open(tmp_path / "irf.fits", memmap=False) as hdus:
        return hdus[1].copy()


@pytest.mark.parametrize("irf", responses(), ids=lambda irf: irf.tag)
def test_writing_and_reading_is_the_identity(irf, tmp_path):
    hdu = on_disk(irf.to_hdu(), tmp_path)
    again = read_irf(hdu, where="irf.fits")
    assert type(again) is type(irf)
    assert hdu_class_of(hdu.header) == irf.tag
    assert again.is_pointlike == irf.is_pointlike
    for mine, theirs in zip(irf.axes, again.axes, strict=True):
        assert mine == theirs
    before, after = irf._checked_tables(), again._checked_tables()
    assert set(before) == set(after)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
        assert after[name].dtype == np.float32
        assert after[name].dtype.isnative
    for key, value in irf.meta.items():
        assert again.meta[key] == value
    assert "TTYPE1" not in again.meta
    assert getattr(again, "fov_alignment", None) == getattr(irf, "fov_alignment", None)


@pytest.mark.parametrize("irf", responses(), ids=lambda irf: irf.tag)
def test_responses_survive_pickling_without_what_was_prepared(irf):
    irf.prepared("something", lambda: np.zeros(1000))
    again = pickle.loads(pickle.dumps(irf))
    assert not again._prepared
    for mine, theirs in zip(irf._checked_tables().values(), again._checked_tables().values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("1/s/MeV/sr", "s-1 MeV-1 sr-1"),
        ("MeV-1 s-1 sr-1", "s-1 MeV-1 sr-1"),
        ("s^-1 MeV^-1 sr^-1", "s-1 MeV-1 sr-1"),
        ("sr^(-1)", "sr-1"),
        ("m**2", "m2"),
    ],
)
def test_units_found_in_the_wild_are_understood(text, same_as):
    assert parse_unit(text) == parse_unit(same_as)


def test_a_unit_that_means_nothing_is_none():
    assert parse_unit("parsecs per fortnight") is None


@pytest.mark.parametrize(
    ("irf", "column", "unit"),
    [
        (responses()[0], "EFFAREA", "s"),
        (responses()[0], "EFFAREA", "nonsense"),
        (responses()[0], "EFFAREA", None),
        (responses()[0], "ENERG_LO", "m"),
        (responses()[0], "THETA_HI", None),
        (responses()[1], "MATRIX", "m"),
        (responses()[3], "SIGMA_1", "TeV"),
        (responses()[6], "BKG", "s-1 sr-1"),
    ],
)
def test_a_wrong_unit_is_named_with_its_column(irf, column, unit):
    hdu = irf.to_hdu()
    hdu.columns[column].unit = unit
    with pytest.raises(UnitError) as error:
        read_irf(hdu, where="file.fits[X]")
    text = str(error.value)
    assert "file.fits[X]" in text
    assert column in text
    assert (unit or "no unit") in text


def test_other_units_of_the_same_kind_are_converted():
    irf = responses()[0]
    hdu = irf.to_hdu()
    hdu.columns["EFFAREA"].unit = "cm2"
    hdu.columns["ENERG_LO"].unit = hdu.columns["ENERG_HI"].unit = "GeV"
    again = read_irf(hdu)
    np.testing.assert_allclose(again.data, irf.data * 1e-4, rtol=1e-7)
    np.testing.assert_allclose(again.axes[0].edges, irf.axes[0].edges * 1e-3, rtol=1e-6)


def test_a_background_without_unit_is_in_the_unit_of_the_format(caplog):
    hdu = responses()[6].to_hdu()
    hdu.columns["BKG"].unit = None
    np.testing.assert_array_equal(read_irf(hdu).data, responses()[6].data * 0 + read_irf(hdu).data)
    assert "no unit" in caplog.text


def test_the_other_order_and_name_of_background_columns():
    """CTA-1DC and H.E.S.S. files: column BGD, FITS axes (DETX, DETY, ENERG), told by the shape."""
    irf = responses()[6]
    columns = list(irf.to_hdu().columns)
    table = np.ascontiguousarray(irf.data)  # (energy, lon, lat), as the reference takes it
    shape = str(table.T.shape).replace(" ", "")
    other = fits.Column("BGD", f"{table.size}E", unit="1/s/MeV/sr", dim=shape, array=table[np.newaxis])
    hdu = fits.BinTableHDU.from_columns([c for c in columns if c.name != "BKG"] + [other])
    np.testing.assert_array_equal(read_irf(hdu, "bkg_3d").data, irf.data)


def test_sizes_that_do_not_fit_are_refused():
    hdu = responses()[0].to_hdu()
    columns = [c for c in hdu.columns if not c.name.startswith("THETA")]
    edges = np.array([[0.0, 1.0]], dtype=np.float32)
    columns += [fits.Column(f"THETA_{s}", "2E", unit="deg", array=edges) for s in ("LO", "HI")]
    with pytest.raises(CorruptFileError, match=r"5 energy_true x 2 offset.*TDIM") as error:
        read_irf(fits.BinTableHDU.from_columns(columns), "aeff_2d", "file.fits[AEFF]")
    assert "EFFAREA" in str(error.value)


def test_a_missing_column_is_named():
    hdu = responses()[0].to_hdu()
    short = fits.BinTableHDU.from_columns([c for c in hdu.columns if c.name != "EFFAREA"])
    with pytest.raises(MissingHduError, match="EFFAREA"):
        read_irf(short, "aeff_2d", "file.fits")


def test_a_table_without_rows_is_refused():
    hdu = fits.BinTableHDU.from_columns(responses()[0].to_hdu().columns, nrows=1)
    empty = fits.BinTableHDU(hdu.data[:0], header=hdu.header)
    with pytest.raises(CorruptFileError, match="without rows"):
        read_irf(empty, "aeff_2d", "file.fits")


def test_scaled_columns_are_scaled():
    irf = responses()[0]
    columns = [c for c in irf.to_hdu().columns if c.name != "EFFAREA"]
    stored = np.arange(15, dtype=np.int16).reshape(1, 3, 5)
    columns.append(fits.Column("EFFAREA", "15I", unit="m2", dim="(5,3)", array=stored))
    raw = fits.BinTableHDU.from_columns(columns)
    number = len(columns)
    raw.header[f"TSCAL{number}"], raw.header[f"TZERO{number}"] = 0.5, 3.0
    again = EffectiveAreaTable2D.from_hdu(fits.BinTableHDU.fromstring(_bytes(raw)))
    np.testing.assert_allclose(again.data, stored[0].T * 0.5 + 3)


def _bytes(hdu):
    import io

    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(stream)
    return stream.getvalue()[2880:]


def test_an_unknown_class_or_alignment_is_refused():
    hdu = responses()[6].to_hdu()
    with pytest.raises(UnsupportedError, match=r"psf_moffat.*psf_king"):
        read_irf(hdu, "psf_moffat", "file.fits")
    hdu.header["FOVALIGN"] = "SIDEWAYS"
    with pytest.raises(UnsupportedError, match=r"SIDEWAYS.*RADEC"):
        read_irf(hdu, "bkg_3d", "file.fits")


@pytest.mark.parametrize("irf", responses(), ids=lambda irf: irf.tag)
def test_values_that_are_not_finite_are_counted_and_placed(irf):
    irf.check_finite("file.fits")
    tables = irf.tables if hasattr(irf, "tables") else {irf.column: irf.data}
    name, table = next(iter(tables.items()))
    table[1, 0] = np.nan
    irf._prepared.clear()
    if irf.tag.startswith("bkg"):
        # Between valid energies the gap is filled first; here it reaches the end of the axis
        table[:, 0] = np.nan
    n = int(np.isnan(table).sum())
    with pytest.raises(InvalidResponseError) as error:
        irf.check_finite("file.fits")
    text = str(error.value)
    assert f"{n} of {table.size}" in text
    assert name.upper() in text
    assert "file.fits" in text
    assert "zero" in text


def test_gaps_in_energy_are_filled_in_the_logarithm_and_nothing_is_extrapolated():
    rates = np.array([0.0, 8.0, 0.0, np.nan, 1.0, 2.0, 0.0], dtype=np.float32)
    energy = IrfAxis.from_edges(np.geomspace(0.1, 100, 8), "energy", "log")
    bkg = Background2D([energy, IrfAxis.from_edges([0, 1], "offset", "lin")], rates[:, None])
    np.testing.assert_allclose(bkg.filled()[:, 0], [0, 8, 4, 2, 1, 2, 0], rtol=1e-6)
    np.testing.assert_array_equal(bkg.data[:, 0], rates)
    bkg.check_finite()


def test_shape_and_axes_of_a_constructed_response_are_checked():
    with pytest.raises(CorruptFileError, match="shape"):
        EffectiveAreaTable2D([TRUE, OFFSET], np.ones((3, 3)))
    with pytest.raises(CorruptFileError, match="energy_true, offset are needed"):
        EffectiveAreaTable2D([OFFSET, TRUE], np.ones((3, 5)))
    with pytest.raises(CorruptFileError, match="gamma, sigma are needed"):
        PSFKing([TRUE, OFFSET], {"sigma": np.ones((5, 3))})
    assert EffectiveAreaTable2D([TRUE, OFFSET], 2.0, unit="km2").data.max() == pytest.approx(2e6)


def test_coordinates_of_evaluate_are_checked_and_may_have_units():
    import astropy.units as u

    aeff = responses()[0]
    plain = aeff.evaluate(energy_true=[1.0, 200.0], offset=0.5)
    assert plain[1] == 0
    np.testing.assert_allclose(aeff.evaluate(energy_true=[1, 200] * u.TeV, offset=30 * u.arcmin), plain)
    with pytest.raises(TypeError, match="energy_true, offset"):
        aeff.evaluate(energy=1.0, offset=0.5)


def test_rad_max_from_the_card_of_a_point_like_effective_area():
    aeff = EffectiveAreaTable2D([TRUE, OFFSET], 1.0, meta={"RAD_MAX": 0.11}, is_pointlike=True)
    rad_max = RadMax2D.from_effective_area(aeff)
    assert rad_max.is_fixed_rad_max
    np.testing.assert_array_equal(rad_max.evaluate(energy=[0.001, 1.0], offset=7.0), [0.11, 0.11])
    with pytest.raises(MissingHduError, match="RAD_MAX"):
        RadMax2D.from_effective_area(EffectiveAreaTable2D([TRUE, OFFSET], 1.0, is_pointlike=True))
