"""Gammapy's numbers on small geometries."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from gammaflow.maps import WcsGeom


@cache
def load_reference(name: str = "geometry") -> Any:
    return json.loads((Path(__file__).parents[1] / "reference" / f"{name}.json").read_text())


def build(spec: dict[str, Any]) -> WcsGeom:
    keys = {key: tuple(spec[key]) for key in ("skydir", "binsz", "width")}
    return WcsGeom.create(**keys, frame=spec["frame"], proj=spec["proj"])
