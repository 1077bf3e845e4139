"""Spatial models."""

from gammaflow.modeling.spatial.base import SpatialModel, Transform
from gammaflow.modeling.spatial.disk import DiskSpatialModel
from gammaflow.modeling.spatial.ellipse import RadialSpatialModel
from gammaflow.modeling.spatial.gauss import GaussianSpatialModel
from gammaflow.modeling.spatial.generalized_gauss import GeneralizedGaussianSpatialModel
from gammaflow.modeling.spatial.point import ConstantSpatialModel, PointSpatialModel
from gammaflow.modeling.spatial.shell import Shell2SpatialModel, ShellSpatialModel
from gammaflow.modeling.spatial.template import TemplateMap, TemplateSpatialModel

__all__ = [
    "ConstantSpatialModel",
    "DiskSpatialModel",
    "GaussianSpatialModel",
    "GeneralizedGaussianSpatialModel",
    "PointSpatialModel",
    "RadialSpatialModel",
    "Shell2SpatialModel",
    "ShellSpatialModel",
    "SpatialModel",
    "TemplateMap",
    "TemplateSpatialModel",
    "Transform",
]
