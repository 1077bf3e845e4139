"""Responses by formulas, for classes that no public file holds; plain numpy, for the reference scripts too."""

import numpy as np

ENERGY_TRUE_EDGES = np.geomspace(0.05, 100.0, 23)  # TeV
ENERGY_EDGES = np.geomspace(0.06, 80.0, 15)  # TeV
OFFSET_NODES = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])  # deg
OFFSET_EDGES = np.array([0.0, 0.4, 0.9, 1.5, 2.2, 3.0])  # deg


def king_tables():
    """Parameters of a King profile: gamma and sigma (deg), shape (22, 6), float32."""
    energy = np.sqrt(ENERGY_TRUE_EDGES[1:] * ENERGY_TRUE_EDGES[:-1])[:, None]
    offset = OFFSET_NODES[None, :]
    sigma = 0.04 + 0.05 * (energy / 0.3) ** -0.4 * (1 + 0.2 * offset**2)
    gamma = 1.4 + 0.5 * np.cos(1.3 * np.log(energy)) ** 2 + 0.1 * offset
    return {"gamma": gamma.astype(np.float32), "sigma": sigma.astype(np.float32)}


def background_2d_table():
    """Background rate in s-1 MeV-1 sr-1 with gaps in energy, shape (14, 5), float32."""
    energy = np.sqrt(ENERGY_EDGES[1:] * ENERGY_EDGES[:-1])[:, None]
    offset = 0.5 * (OFFSET_EDGES[1:] + OFFSET_EDGES[:-1])[None, :]
    rate = 2e-6 * energy**-2.9 * np.exp(-0.5 * (offset / (1.2 + 0.2 * np.log10(energy))) ** 2)
    rate[5, 2] = rate[6, 2] = rate[9, 0] = 0.0  # gaps to be filled
    rate[0, 4] = rate[13, 3] = 0.0  # at the ends: not to be filled
    return rate.astype(np.float32)
