"""Models of published shapes with random weights: speed does not depend on the weights."""

from eval.random_model.build import (
    SHAPES,
    random_family,
    random_model,
    random_video_llm,
    require_shape,
)

__all__ = ["SHAPES", "random_family", "random_model", "random_video_llm", "require_shape"]
