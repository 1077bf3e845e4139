"""Datasets: counts, background and responses on one geometry, and how they are stacked."""

from gammaflow.datasets.accumulator import Accumulator
from gammaflow.datasets.box import Box
from gammaflow.datasets.collection import DatasetNameError, Datasets
from gammaflow.datasets.counts_dataset import CountsDataset
from gammaflow.datasets.dataset import Dataset
from gammaflow.datasets.dataset_geometry import DatasetGeometry
from gammaflow.datasets.flux_points import FluxPointsDataset
from gammaflow.datasets.geometry import MapDatasetGeometry
from gammaflow.datasets.grouping import GroupBy
from gammaflow.datasets.info import DatasetSummary
from gammaflow.datasets.map_dataset import MapDataset
from gammaflow.datasets.observations import ObservationRow, ObservationTable
from gammaflow.datasets.on_off import MapDatasetOnOff, OnOffDataset, SpectrumDatasetOnOff
from gammaflow.datasets.partial import Partial
from gammaflow.datasets.spectrum_dataset import SpectrumDataset
from gammaflow.datasets.spectrum_geometry import SpectrumDatasetGeometry
from gammaflow.datasets.stacking import combine, finish, lift, stack

__all__ = [
    "Accumulator",
    "Box",
    "CountsDataset",
    "Dataset",
    "DatasetGeometry",
    "DatasetNameError",
    "DatasetSummary",
    "Datasets",
    "FluxPointsDataset",
    "GroupBy",
    "MapDataset",
    "MapDatasetGeometry",
    "MapDatasetOnOff",
    "ObservationRow",
    "ObservationTable",
    "OnOffDataset",
    "Partial",
    "SpectrumDataset",
    "SpectrumDatasetGeometry",
    "SpectrumDatasetOnOff",
    "combine",
    "finish",
    "lift",
    "stack",
]
