"""Exclusion masks from FITS images and region files."""

import numpy as np
import pytest
from astropy.io import fits

from gammaflow.errors import CorruptFileError, DataError, GeometryError, MissingFileError, MissingHduError
from gammaflow.maps import WcsGeom, read_mask
from tests.maps.reference import load_reference

SOURCE = WcsGeom.create((0.4, 0.3), 0.17, npix=(23, 17), frame="galactic")
TARGET = WcsGeom.create((266.4, -28.9), 0.08, npix=(70, 60), frame="icrs")


def write(path, data, geom=SOURCE, **cards):
    fits.PrimaryHDU(data, fits.Header(geom.header | cards)).writeto(path)
    return path


def test_fits_mask_is_looked_up_as_gammapy_does(tmp_path):
    data = np.random.default_rng(7).random((17, 23)) > 0.4
    mask = read_mask(write(tmp_path / "mask.fits.gz", data.astype(np.uint8)), TARGET)
    reference = load_reference()["mask"]
    assert mask.shape == TARGET.shape_image
    assert {"sum": int(mask.sum()), "index_sum": int(np.flatnonzero(mask).sum())} == reference


@pytest.mark.parametrize("dtype", ["uint8", "int32", ">f4", "float64"])
def test_values_count_as_kept_unless_zero_or_nan(tmp_path, dtype):
    data = np.ones((17, 23), dtype=dtype)
    data[0, 0] = 0
    if data.dtype.kind == "f":
        data[1, 1] = np.nan
    mask = read_mask(write(tmp_path / "mask.fits", data[np.newaxis]), SOURCE)
    np.testing.assert_array_equal(mask, np.isfinite(data) & (data != 0))


def test_outside_of_the_image_is_excluded(tmp_path):
    path = write(tmp_path / "mask.fits", np.ones((17, 23), dtype=np.uint8))
    wide = WcsGeom.create((0.4, 0.3), 0.17, npix=(33, 27), frame="galactic")
    mask = read_mask(path, wide)
    assert mask[5:-5, 5:-5].all()
    assert mask.sum() == 23 * 17


def test_pixel_edges_on_pixel_centres_do_not_depend_on_rounding(tmp_path):
    """Centres of fine pixels on the edges of coarse ones belong to the pixel that begins there."""
    coarse = WcsGeom.create((228.53, -59.16), 0.2, npix=(10, 10))
    fine = WcsGeom.create((228.53, -59.16), 0.2, npix=(9, 9))  # half a pixel aside
    data = np.arange(100).reshape(10, 10) % 7 > 2
    mask = read_mask(write(tmp_path / "mask.fits", data.astype(np.uint8), coarse), fine)
    np.testing.assert_array_equal(mask, data[1:, 1:])


def test_image_may_be_in_an_extension(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("A", "E", array=[1.0])])
    image = fits.ImageHDU(np.ones((17, 23), dtype=np.uint8), fits.Header(SOURCE.header))
    fits.HDUList([fits.PrimaryHDU(), table, image]).writeto(tmp_path / "mask.fits")
    assert read_mask(tmp_path / "mask.fits", SOURCE).all()


def test_regions_are_what_is_excluded(tmp_path):
    path = tmp_path / "exclusion.reg"
    path.write_text(
        "# Region file format: DS9\ngalactic\ncircle(0.4,0.3,0.5)\ncircle(-1,0.3,0.2) # text={other}\n"
    )
    mask = read_mask(path, SOURCE)
    expected = SOURCE.region_mask(
        ["galactic;circle(0.4,0.3,0.5)", "galactic;circle(-1,0.3,0.2)"], inside=False
    )
    np.testing.assert_array_equal(mask, expected)
    assert 0 < (~mask).sum() < mask.size


def test_bad_files_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        read_mask(tmp_path / "none.fits", SOURCE)
    whole = write(tmp_path / "whole.fits", np.ones((17, 23))).read_bytes()
    for name, content, error, words in [
        ("text.fits", b"not FITS at all", CorruptFileError, "not a readable FITS file"),
        ("cut.fits", whole[:3000], CorruptFileError, "not a readable FITS file"),
        ("empty.reg", b"# nothing\n", DataError, "no region"),
        ("wrong.reg", b"icrs;circle(83,ab,c)\n", DataError, "cannot read the DS9 region|no region"),
        ("binary.reg", b"\xff\xfe\x00\x81", CorruptFileError, "not a text file"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=words) as caught:
            read_mask(tmp_path / name, SOURCE)
        assert name in str(caught.value)
    with pytest.raises(GeometryError, match=r"shape \(2, 17, 23\)"):
        read_mask(write(tmp_path / "cube.fits", np.ones((2, 17, 23))), SOURCE)
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "table.fits")
    with pytest.raises(MissingHduError, match="no image"):
        read_mask(tmp_path / "table.fits", SOURCE)
    fits.PrimaryHDU(np.ones((4, 4))).writeto(tmp_path / "plain.fits")
    with pytest.raises(GeometryError, match="lacks CTYPE1"):
        read_mask(tmp_path / "plain.fits", SOURCE)
