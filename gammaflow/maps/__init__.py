"""Axes, geometries of maps on the sky, and masks on them."""

from gammaflow.maps.axis import MapAxis
from gammaflow.maps.exclusion import read_mask, read_mask_image, read_regions
from gammaflow.maps.frames import (
    frame_matrix,
    lonlat_to_vectors,
    position_vector,
    rotate,
    separation,
    vectors_to_lonlat,
)
from gammaflow.maps.geom import WcsGeom
from gammaflow.maps.region_geom import RegionGeom
from gammaflow.maps.region_mask import parse_regions

__all__ = [
    "MapAxis",
    "RegionGeom",
    "WcsGeom",
    "frame_matrix",
    "lonlat_to_vectors",
    "parse_regions",
    "position_vector",
    "read_mask",
    "read_mask_image",
    "read_regions",
    "rotate",
    "separation",
    "vectors_to_lonlat",
]
