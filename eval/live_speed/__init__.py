"""How fast live work goes: ingest while answers run, answers while streams run, whole pipelines."""

from eval.live_speed.command import pipeline, under_load

__all__ = ["pipeline", "under_load"]
