"""RowForm: how one encoded row was made, so that rows of one form can be decoded together."""

from dataclasses import dataclass

from memory.codec.row_layout import RowLayout


@dataclass(frozen=True)
class RowForm:
    """A codec's name and the layout of what it encoded."""

    codec: str
    layout: RowLayout
