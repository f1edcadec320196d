"""The tables of docs/planning.md are what `vstream plan` computes."""

import re
from pathlib import Path

import pytest

from app.held_bytes import model_shape
from app.plan import shape_of, stored_bytes
from memory import POLICIES
from vstream.models.known_models import KNOWN

PAGE = (Path(__file__).parents[2] / "docs" / "planning.md").read_text("utf-8")
MODELS = {"embedded": (None, "float32"), **{one.name: (one.hub_id, "bfloat16") for one in KNOWN}}
HOUR_FRAMES = 3600


def tables():
    """(table's heading cells, row's cells) of each row."""
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        heading, _, *rows = (line.strip("|").split("|") for line in table.splitlines())
        for row in rows:
            yield [one.strip(" `") for one in heading], [one.strip(" `") for one in row]


def said(model, policy, codec):
    """GB: what an hour adds, or where there is a bound, all after a week."""
    hub_id, dtype = MODELS[model]
    shape, kind = shape_of(hub_id), POLICIES.find(policy)
    made = kind(model_shape(shape), kind.read_settings({}))

    def held(frames):
        return stored_bytes(made, shape, frames, codec, dtype) / 1e9

    bounded = made.keep_blocks() is not None
    return held(24 * 7 * HOUR_FRAMES) if bounded else held(2 * HOUR_FRAMES) - held(HOUR_FRAMES)


ROWS = list(tables())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "/".join(row[1][:2]))
def test_a_row_is_what_is_computed(row):
    heading, (model, *cells) = row
    for column, cell in zip(heading[1:], cells, strict=True):
        policy, codec = column.split("` `") if "`" in column else column.split(", ")
        assert cell == f"{said(model, policy, codec):.3g}"


def test_every_known_model_is_there():
    assert {cells[0] for _, cells in ROWS} == set(MODELS)
