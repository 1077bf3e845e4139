"""A synthetic survey: analytic responses, a sky with several sources, events drawn through the responses."""

from gammaflow.data.simulation.survey import SimulatedSurvey, simulate_survey

__all__ = ["SimulatedSurvey", "simulate_survey"]
