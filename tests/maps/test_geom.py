"""Map geometries: Gammapy's conventions, wcslib's coordinates, cutouts and alignment."""

import json
import pickle

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gammaflow.errors import GeometryError, NoOverlapError
from gammaflow.maps import MapAxis, WcsGeom, frame_matrix, lonlat_to_vectors, rotate
from tests.maps.reference import build, load_reference

SPECS = load_reference()["geometries"]
CENTERS = [
    (0.0, 0.0),
    (83.63, 22.01),
    (228.5, -59.2),
    (10.0, 90.0),
    (10.0, -90.0),
    (359.99, 89.9),
    (180.0, 45.0),
]
AXIS = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", 3)
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec['proj']}-{spec['frame']}")


@each_spec
def test_pixels_are_gammapys(spec):
    geom = build(spec)
    x, y = np.transpose(spec["picks"])
    assert geom.npix == tuple(spec["npix"])
    assert geom.crpix == tuple(spec["crpix"])
    expected = lonlat_to_vectors(spec["lon"], spec["lat"])
    found = rotate(frame_matrix(geom.frame), geom.pixel_vectors()[:, y, x])
    np.testing.assert_allclose(found, expected, atol=1e-14)
    np.testing.assert_allclose(geom.sky_to_pix(spec["lon"], spec["lat"]), [x, y], atol=1e-9)
    assert geom.to_binsz(0.2).npix == tuple(spec["irf_npix"])


@each_spec
def test_cutouts_are_gammapys(spec):
    geom = build(spec)
    for case in spec["cutouts"]:
        position = SkyCoord(*case["lonlat"], unit="deg", frame=geom.frame)
        width = tuple(case["width"]) if isinstance(case["width"], list) else case["width"]
        if case["npix"] is None:
            with pytest.raises(NoOverlapError, match="does not touch the map"):
                geom.cutout(position, width, case["min_npix"], case["odd_npix"])
        else:
            cut = geom.cutout(position, width, case["min_npix"], case["odd_npix"])
            assert cut.npix == tuple(case["npix"]), case
            assert cut.crpix == tuple(case["crpix"]), case


@pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if spec["binsz"][0] == spec["binsz"][1]], ids=lambda spec: spec["proj"]
)
def test_region_masks_are_gammapys(spec):
    geom = build(spec)
    for region, (count, index_sum) in zip(load_reference()["regions"], spec["region_masks"], strict=True):
        mask = geom.region_mask(region)
        assert [int(mask.sum()), int(np.flatnonzero(mask).sum())] == [count, index_sum], region
        np.testing.assert_array_equal(geom.region_mask(region, inside=False), ~mask)


@pytest.mark.parametrize("frame", ["icrs", "galactic", "fk5"])
@pytest.mark.parametrize("proj", ["CAR", "TAN", "SIN", "AIT", "ZEA", "MER", "CEA"])
@pytest.mark.parametrize("center", CENTERS)
def test_pixel_vectors_are_wcslibs(center, proj, frame):
    geom = WcsGeom.create(center, (0.3, 0.2), (6, 5), frame=frame, proj=proj)
    y, x = np.mgrid[: geom.shape_image[0], : geom.shape_image[1]]
    expected = geom.wcs.pixel_to_world(x, y).icrs.cartesian.xyz.value
    assert np.degrees(np.abs(geom.pixel_vectors() - expected)).max() < 1e-12
    assert not geom.pixel_vectors().flags.writeable


def test_skydir_is_taken_to_the_frame_of_the_map():
    crab = SkyCoord(83.633, 22.014, unit="deg")
    geom = WcsGeom.create(crab, 0.02, 1, frame="galactic")
    assert geom.center_skydir.separation(crab).deg < 1e-12
    assert geom.sky.crval == pytest.approx((crab.galactic.l.deg, crab.galactic.b.deg), abs=1e-12)
    assert WcsGeom.create(lonlat_to_vectors(83.633, 22.014), 0.02, 1, frame="galactic") == geom


@pytest.mark.parametrize(
    ("binsz", "width", "npix"),
    [
        (0.02, (10, 8), (500, 400)),
        ((0.1, 0.2), 3, (30, 15)),
        ("0.1 deg", "2 deg", (20, 20)),
        (6 * u.arcmin, (2 * u.deg, "60 arcmin"), (20, 10)),
        ([0.1, 0.2] * u.deg, [1, 2] * u.deg, (10, 10)),
        (0.5, 0.75, (2, 2)),  # a half goes to the even number
        (0.5, 1.25, (2, 2)),
        (1.0, None, (360, 180)),
    ],
)
def test_number_of_pixels(binsz, width, npix):
    geom = WcsGeom.create((30, 10), binsz, width)
    assert geom.npix == npix
    assert geom.crpix == ((npix[0] + 1) / 2, (npix[1] + 1) / 2)


def test_shapes_follow_the_axes():
    rad = MapAxis.from_bounds(0, 0.66, 66, "rad", "deg")
    geom = WcsGeom.create((0, 0), 0.5, (3, 2), axes=[rad, AXIS])
    assert geom.data_shape == (3, 66, 4, 6)
    assert geom.shape_image == (4, 6)
    assert geom.axis("rad") is rad
    assert geom.to_image().to_cube([rad, AXIS]) == geom
    assert geom.drop("rad").axes == (AXIS,)
    assert geom.to_image().is_image
    with pytest.raises(GeometryError, match=r"no axis 'migra'.*\['rad', 'energy'\]"):
        geom.axis("migra")
    with pytest.raises(GeometryError, match="two axes of the same name"):
        geom.to_cube([AXIS])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"binsz": 0}, "binsz 0 is not above zero"),
        ({"binsz": -0.1}, "binsz -0.1 is not above zero"),
        ({"binsz": (0.1, float("nan"))}, "binsz nan"),
        ({"binsz": "1 TeV"}, "binsz '1 TeV' is not an angle"),
        ({"width": 0}, "width 0 is not above zero"),
        ({"width": (400, 5)}, "width 400 x 5 deg is larger than the sky"),
        ({"width": (5, 181), "binsz": 1, "proj": "CAR", "npix": (5, 0)}, "5 x 0 pixels"),
        ({"width": 200}, "at most 360 x 180 deg"),
        ({"width": 100, "binsz": "0.1 arcsec"}, "Check width and binsz"),
        ({"width": 1, "binsz": 1e-300}, "Check width and binsz"),
        ({"width": (1, 2, 3)}, "one angle, or two"),
        ({"frame": "equatorial"}, "sky frame 'equatorial' is unknown"),
        ({"proj": "CARR"}, "projection 'CARR' is unknown"),
        ({"proj": "COE"}, "projection COE cannot be set up"),
        ({"skydir": (10, 95)}, "not on the sky"),
        ({"skydir": (np.nan, 5)}, "not on the sky"),
        ({"skydir": SkyCoord([1, 2], [3, 4], unit="deg")}, "2 positions"),
    ],
)
def test_bad_input_is_named(arguments, words):
    with pytest.raises(GeometryError, match=words):
        WcsGeom.create(**({"skydir": (10, 20), "binsz": 0.1, "width": 2} | arguments))


# --- headers


@each_spec
def test_header_is_read_back_exactly(spec):
    geom = build(spec).cutout(build(spec).center_skydir, 2.0)
    again = WcsGeom.from_header(json.loads(json.dumps(geom.header)))
    assert again == geom
    assert again.header == geom.header
    np.testing.assert_array_equal(again.pixel_vectors(), geom.pixel_vectors())


@each_spec
def test_header_of_astropy_is_the_same_geometry(spec):
    geom = build(spec)
    header = geom.wcs.to_header()
    header["NAXIS1"], header["NAXIS2"] = geom.npix
    again = WcsGeom.from_header(header)
    assert again == geom
    assert again.sky.cards == ()  # LONPOLE and LATPOLE are the defaults, though written out


def test_header_with_a_turned_and_tilted_plane():
    header = {
        "NAXIS1": 40,
        "NAXIS2": 30,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 30.0,
        "CRVAL2": 40.0,
    }
    header |= {"CRPIX1": 7.25, "CRPIX2": 9.0, "CDELT1": -0.1, "CDELT2": 0.1, "CUNIT1": "deg", "CUNIT2": "deg"}
    header |= {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8}
    geom = WcsGeom.from_header(header)
    y, x = np.mgrid[:30, :40]
    expected = geom.wcs.pixel_to_world(x, y).icrs.cartesian.xyz.value
    np.testing.assert_allclose(geom.pixel_vectors(), expected, atol=1e-14)
    np.testing.assert_allclose(geom.pixel_scales, 0.1)
    assert WcsGeom.from_header(geom.header) == geom
    assert geom != WcsGeom.from_header(header | {"PC1_1": 1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0})


def test_plate_carree_with_another_pole_is_left_to_wcslib():
    geom = WcsGeom.create((30, 40), 0.5, 10)
    turned = WcsGeom.from_header(geom.header | {"LONPOLE": 20.0, "LATPOLE": 60.0})
    y, x = np.mgrid[:20, :20]
    expected = turned.wcs.pixel_to_world(x, y).icrs.cartesian.xyz.value
    np.testing.assert_allclose(turned.pixel_vectors(), expected, atol=1e-14)
    assert geom != turned
    assert WcsGeom.from_header(turned.header) == turned


def test_cd_matrix_counts_as_pixel_size():
    header = {
        "NAXIS1": 4,
        "NAXIS2": 4,
        "CTYPE1": "GLON-CAR",
        "CTYPE2": "GLAT-CAR",
        "CRVAL1": 3.0,
        "CRVAL2": 4.0,
    }
    header |= {"CRPIX1": 2.5, "CRPIX2": 2.5, "CD1_1": -0.2, "CD2_2": 0.1, "CD1_2": 0.0, "CD2_1": 0.0}
    assert WcsGeom.from_header(header) == WcsGeom.create((3, 4), (0.2, 0.1), npix=4, frame="galactic")


def test_all_sky_image_that_begins_at_longitude_zero():
    """The reference point in a corner: columns run on beyond native longitude 180."""
    header = {
        "NAXIS1": 360,
        "NAXIS2": 180,
        "CTYPE1": "GLON-CAR",
        "CTYPE2": "GLAT-CAR",
        "CRVAL1": 0.0,
        "CRVAL2": 0.0,
    }
    header |= {"CRPIX1": 0.5, "CRPIX2": 90.5, "CDELT1": 1.0, "CDELT2": 1.0}
    geom = WcsGeom.from_header(header)
    x, y = geom.sky_to_pix([0.5, 179.5, 180.5, 359.5], [0, 10, -10, 89.5])
    np.testing.assert_allclose(x, [0, 179, 180, 359], atol=1e-9)
    np.testing.assert_allclose(y, [89.5, 99.5, 79.5, 179], atol=1e-9)
    assert geom.solid_angle().sum() == pytest.approx(4 * np.pi, rel=1e-13)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"NAXIS1": None}, "lacks NAXIS1"),
        ({"CTYPE1": "LAMBDA", "CTYPE2": "FREQ"}, "no celestial WCS|no usable WCS"),
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "no usable WCS|no celestial WCS|is unknown"),
        ({"CTYPE1": "DEC--CAR", "CTYPE2": "RA---CAR"}, "longitude first"),
        ({"CTYPE1": "ELON-CAR", "CTYPE2": "ELAT-CAR"}, "longitude first"),
        ({"RADESYS": "FK5", "EQUINOX": 1950.0}, "equinox 1950"),
        (
            {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5},
            "distortions",
        ),
    ],
)
def test_headers_that_are_no_map_are_named(change, words):
    header = WcsGeom.create((83, 22), 0.1, 2).header | change
    cards = {key: value for key, value in header.items() if value is not None}
    with pytest.raises(GeometryError, match=words):
        WcsGeom.from_header(fits.Header(cards), where="mask.fits")


# --- solid angles


@each_spec
def test_solid_angle_near_gammapys(spec):
    """Gammapy's planar formula is off by up to 3e-5 on coarse pixels near a pole of the frame."""
    geom = build(spec)
    x, y = np.transpose(spec["picks"])
    np.testing.assert_allclose(geom.solid_angle()[y, x], spec["solid_angle"], rtol=3e-5)


@pytest.mark.parametrize("binsz", [1.0, 0.7, (2.0, 0.5), 7.0])
def test_full_sky_plate_carree_is_four_pi(binsz):
    geom = WcsGeom.create((20, 0), binsz)
    columns = geom.width[0] / 360.0
    # rows may be rounded to fall short of the poles
    rows = np.sin(np.radians(min(geom.width[1] / 2, 90.0)))
    assert geom.solid_angle().sum() == pytest.approx(4 * np.pi * columns * rows, rel=1e-13)


def test_equal_area_projections_have_equal_areas():
    """In the projection of Hammer and Aitoff, and in Lambert's, a pixel's area is its solid angle."""
    for proj in ("AIT", "ZEA"):
        geom = WcsGeom.create((120, 35), 0.05, 4, proj=proj)
        np.testing.assert_allclose(geom.solid_angle(), np.radians(0.05) ** 2, rtol=3e-6)


def test_gnomonic_pixels_are_exact():
    """A straight line in the gnomonic plane is a great circle: for a square of half side t, 4 arcsin(t^2 /
    (1 + t^2)).
    """
    geom = WcsGeom.create((250, -70), 0.1, 6, proj="TAN")
    t = np.radians(3.0)
    assert geom.solid_angle().sum() == pytest.approx(4 * np.arcsin(t**2 / (1 + t**2)), rel=1e-12)


def test_orthographic_hemisphere_is_two_pi():
    geom = WcsGeom.create((30, 60), 0.25, (115, 115), proj="SIN")
    off = np.isnan(geom.pixel_vectors()[0])
    assert 0.15 < off.mean() < 0.3
    assert (geom.solid_angle()[off] == 0).all()
    assert (geom.solid_angle()[~off] > 0).all()
    # near the rim the scale of the projection diverges
    assert geom.solid_angle().sum() == pytest.approx(2 * np.pi, rel=0.03)


def test_full_sky_aitoff_is_four_pi():
    geom = WcsGeom.create((0, 0), 1.0, (360, 180), proj="AIT")
    assert np.isfinite(geom.solid_angle()).all()
    assert geom.solid_angle().sum() == pytest.approx(4 * np.pi, rel=2e-4)


# --- cutouts and alignment


def test_cutout_shares_what_its_parent_has():
    parent = WcsGeom.create((0, 0), 0.02, (10, 8), frame="galactic", axes=[AXIS])
    cut = parent.cutout(SkyCoord(1, 1, unit="deg", frame="galactic"), 7.0)
    assert cut.parent == parent
    assert cut.parent_slices == cut.slices_in(parent)
    assert np.shares_memory(cut.pixel_vectors(), parent.pixel_vectors())
    np.testing.assert_array_equal(
        cut.pixel_vectors(), parent.pixel_vectors()[(slice(None), *cut.parent_slices)]
    )
    np.testing.assert_array_equal(cut.solid_angle(), parent.solid_angle()[cut.parent_slices])
    again = cut.cutout(cut.center_skydir, 1.0)
    assert again.parent == parent
    assert again.slices_in(cut) != again.slices_in(parent)
    assert parent.parent is parent


@pytest.mark.parametrize("proj", ["CAR", "TAN"])
def test_large_parents_are_not_computed_whole_and_give_the_same_bits(monkeypatch, proj):
    parent = WcsGeom.create((83, 22), 0.05, (20, 18), proj=proj)
    cut = parent.cutout(SkyCoord(80, 20, unit="deg"), 3.0)
    vectors, areas = cut.pixel_vectors().copy(), cut.solid_angle().copy()
    monkeypatch.setattr("gammaflow.maps.pixel_arrays.WHOLE_PARENT_PIXELS", 10)
    assert not np.shares_memory(cut.pixel_vectors(), parent.pixel_vectors())
    np.testing.assert_array_equal(cut.pixel_vectors(), vectors)
    np.testing.assert_array_equal(cut.solid_angle(), areas)


def test_cutout_on_a_pixel_edge_does_not_depend_on_rounding():
    geom = WcsGeom.create((0, 0), 0.02, (10, 8), frame="galactic")
    for shift in (0.0, 1e-9, -1e-9):
        cut = geom.cutout(geom.pix_to_vectors(249.5 + shift, 199.5 - shift), 175 * 0.02)
        assert cut.parent_slices == (slice(112, 287), slice(162, 337))


def test_position_may_be_a_vector_or_a_coordinate():
    geom = WcsGeom.create((0, 0), 0.02, (10, 8), frame="galactic")
    position = SkyCoord(266.1, -28.3, unit="deg")
    assert geom.cutout(position, 3) == geom.cutout(lonlat_to_vectors(266.1, -28.3), 3)
    for wrong in (
        [1.0, 2.0, 3.0],
        [1.0, 0.0],
        SkyCoord([1, 2], [3, 4], unit="deg"),
        SkyCoord(np.nan, 0, unit="deg"),
    ):
        with pytest.raises(GeometryError):
            geom.cutout(wrong, 3)


def test_no_overlap_tells_where_both_are():
    geom = WcsGeom.create((83, 22), 0.02, 5)
    with pytest.raises(NoOverlapError, match=r"RA 200, Dec -30 deg.*5 x 5 deg around RA 83, Dec 22 deg"):
        geom.cutout(SkyCoord(200, -30, unit="deg"), 2.0)
    tangential = WcsGeom.create((83, 22), 0.02, 5, proj="TAN")
    with pytest.raises(NoOverlapError):
        tangential.cutout(SkyCoord(263, -22, unit="deg"), 2.0)


BASE = {"skydir": (0.0, 0.0), "binsz": 0.02, "npix": (100, 80), "frame": "galactic", "axes": [AXIS]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frame": "icrs"}, "frame icrs and galactic"),
        ({"proj": "TAN"}, "projection TAN and CAR"),
        ({"skydir": (0.01, 0.0)}, "CRVAL1 0.01 and 0.0 deg"),
        ({"binsz": (0.02, 0.04)}, "CDELT2 0.04 and 0.02 deg"),
        ({"npix": (100, 81)}, r"CRPIX2 41.0 and 40.5 are .*off a whole number"),
        ({"npix": (104, 80)}, "columns -2 to 102 of another geometry that has 0 to 100"),
        ({"axes": [AXIS.squash()]}, "axis 'energy': nbin 1 and 3"),
        ({"axes": [AXIS, MapAxis.from_bounds(0, 1, 2, "rad", "deg")]}, r"axes \['energy', 'rad'\]"),
    ],
)
def test_slices_name_the_number_that_differs(change, words):
    other = WcsGeom.create(**BASE)
    with pytest.raises(GeometryError, match=words):
        WcsGeom.create(**(BASE | change)).slices_in(other)
    assert WcsGeom.create(**(BASE | change)) != other


def test_an_image_is_found_in_a_cube():
    cube = WcsGeom.create(**BASE)
    assert cube.to_image().slices_in(cube) == (slice(0, 80), slice(0, 100))
    assert cube.slices_in(cube) == (slice(0, 80), slice(0, 100))


def test_equality_is_tolerant_and_hash_agrees():
    geom = WcsGeom.create(**BASE)
    near = WcsGeom.create(**(BASE | {"skydir": (360.0 - 1e-8, 1e-9)}))
    assert geom == near
    assert hash(geom) == hash(near)
    cut = geom.cutout(geom.center_skydir, 0.5)
    alone = WcsGeom.from_header(cut.header, axes=[AXIS])
    assert cut == alone  # whose parent differs
    assert geom != "geometry"


def test_pickle_carries_no_arrays():
    geom = WcsGeom.create(**BASE)
    cut = geom.cutout(geom.center_skydir, 1.0)
    cut.pixel_vectors(), cut.wcs
    packed = pickle.dumps(cut)
    assert len(packed) < 1500
    again = pickle.loads(packed)
    assert again == cut
    assert again.parent == geom
    assert again.parent_slices == cut.parent_slices


centers = st.tuples(st.floats(0, 359.99), st.floats(-90, 90))
projections = st.sampled_from(["CAR", "TAN", "SIN", "AIT"])
frames = st.sampled_from(["icrs", "galactic"])


@settings(max_examples=60, deadline=None)
@given(
    center=centers,
    proj=projections,
    frame=frames,
    binsz=st.floats(0.02, 0.3),
    nx=st.integers(3, 30),
    ny=st.integers(3, 30),
)
def test_pixels_and_vectors_are_inverse(center, proj, frame, binsz, nx, ny):
    geom = WcsGeom.create(center, binsz, npix=(nx, ny), frame=frame, proj=proj)
    x, y = geom.vectors_to_pix(geom.pixel_vectors())
    np.testing.assert_allclose(x, np.broadcast_to(np.arange(nx), (ny, nx)), atol=1e-8)
    np.testing.assert_allclose(y, np.broadcast_to(np.arange(ny)[:, None], (ny, nx)), atol=1e-8)
    np.testing.assert_allclose((geom.pixel_vectors() ** 2).sum(axis=0), 1.0, atol=1e-14)
    assert geom.contains(geom.pixel_vectors()).all()


@settings(max_examples=60, deadline=None)
@given(
    center=centers,
    proj=projections,
    pixel=st.tuples(st.floats(-5, 45), st.floats(-5, 35)),
    width=st.tuples(st.floats(0.01, 6), st.floats(0.01, 6)),
    odd=st.booleans(),
)
def test_a_cutout_lies_where_it_says(center, proj, pixel, width, odd):
    parent = WcsGeom.create(center, 0.1, npix=(40, 30), proj=proj, axes=[AXIS])
    try:
        cut = parent.cutout(parent.pix_to_vectors(*pixel), width, odd_npix=odd)
    except NoOverlapError:
        assume(False)
    assert cut.slices_in(parent) == cut.parent_slices
    assert WcsGeom.from_header(cut.header, cut.axes).slices_in(parent) == cut.parent_slices
    rows, columns = cut.parent_slices
    assert cut.data_shape == (3, rows.stop - rows.start, columns.stop - columns.start)
    np.testing.assert_array_equal(cut.pixel_vectors(), parent.pixel_vectors()[:, rows, columns])
