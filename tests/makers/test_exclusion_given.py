"""What a user may give to makers of backgrounds to say what must not be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion

from gammaflow.errors import ConfigError, DataError, MissingFileError
from gammaflow.makers import (
    AdaptiveRingBackgroundMaker,
    ExclusionMask,
    ExclusionRegions,
    FoVBackgroundMaker,
    ReflectedRegionsBackgroundMaker,
    RingBackgroundMaker,
)
from gammaflow.maps import WcsGeom

GEOM = WcsGeom.create((83.63, 22.01), 0.05, (3.0, 2.0), proj="TAN")
CIRCLE = CircleSkyRegion(SkyCoord("83.63 deg", "22.14 deg"), 0.2 * u.deg)
DS9 = "icrs;circle(83.63,22.14,0.2)"
MAKERS = {
    "fov": lambda given: FoVBackgroundMaker(method="fit", exclusion_mask=given),
    "ring": lambda given: RingBackgroundMaker("0.5 deg", "0.3 deg", exclusion_mask=given),
    "adaptive": lambda given: AdaptiveRingBackgroundMaker(
        "0.3 deg", "1.2 deg", "0.2 deg", exclusion_mask=given
    ),
    "reflected": lambda given: ReflectedRegionsBackgroundMaker(exclusion_mask=given),
}
GIVEN = {
    "mask of a geometry": ~GEOM.region_mask(regions=[CIRCLE]),  # as on Gammapy's slides
    "two masks": ~(GEOM.region_mask(CIRCLE) | GEOM.region_mask("icrs;circle(83.63,22.14,0.1)")),
    "region": CIRCLE,
    "regions": [CIRCLE],
    "text": DS9,
    "texts": [DS9],
    "ExclusionRegions": ExclusionRegions.create(DS9),
    "mask": ExclusionMask(GEOM, GEOM.region_mask(DS9, False)),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("kind", GIVEN)
def test_regions_and_masks_exclude_the_same(name: str, kind: str) -> None:
    exclusion = MAKERS[name](GIVEN[kind]).exclusion_mask
    expected = GEOM.region_mask([CIRCLE], inside=False)
    assert 0 < (~expected).sum() < expected.size
    np.testing.assert_array_equal(exclusion.on(GEOM), expected)
    np.testing.assert_array_equal(exclusion.at(GEOM.pixel_vectors(), outside=True), expected)


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_may_be_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "exclusion.reg"
    path.write_text(DS9.replace(";", "\n"))
    expected = GEOM.region_mask([CIRCLE], inside=False)
    for given in (path, str(path)):
        np.testing.assert_array_equal(MAKERS[name](given).exclusion_mask.on(GEOM), expected)


@pytest.mark.parametrize("name", MAKERS)
def test_an_array_does_not_say_where_it_is(name: str) -> None:
    mask = np.array(~GEOM.region_mask(regions=[CIRCLE]))
    with pytest.raises(ConfigError, match=r"does not say where.*ExclusionMask\(geom"):
        MAKERS[name](mask)
    assert MAKERS[name](ExclusionMask(GEOM, mask)).exclusion_mask.data is mask


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_excludes_nothing_and_nonsense_is_told(name: str) -> None:
    assert MAKERS[name](None).exclusion_mask is None
    with pytest.raises(DataError, match="DS9"):
        MAKERS[name]("the Crab nebula")
    with pytest.raises(MissingFileError, match="no such file"):
        MAKERS[name]("nowhere.reg")
