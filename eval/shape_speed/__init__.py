"""How fast models of published shapes run on a device, beside its limits and beside plain use."""

from eval.shape_speed.measure import ASKERS, ShapeOptions, measure_shape
from eval.shape_speed.result import ShapeSpeed, shape_table

__all__ = ["ASKERS", "ShapeOptions", "ShapeSpeed", "measure_shape", "shape_table"]
