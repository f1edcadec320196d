"""Tier speed: how fast each place that keeps blocks writes them, reads them and begins answers."""

from eval.tier_speed.measure import TierResult, measure_tiers

__all__ = ["TierResult", "measure_tiers"]
