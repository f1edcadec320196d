"""Gradio is imported without the stubs that it writes."""

import sys

import pytest

from app.page import gr, without_stubs

PART = "import gradio as gr\n\nclass Part(gr.HTML):\n    EVENTS = ['click']\n"


@pytest.mark.parametrize("with_stubs", [False, True])
def test_a_component_is_made_without_its_stub(with_stubs, tmp_path, monkeypatch):
    name = f"part_that_has_{'a' if with_stubs else 'no'}_stub"
    (tmp_path / f"{name}.py").write_text(PART)
    monkeypatch.syspath_prepend(tmp_path)
    if with_stubs:  # what Gradio does by itself
        part = __import__(name)
    else:
        with without_stubs():
            part = __import__(name)
    monkeypatch.delitem(sys.modules, name)
    assert (tmp_path / f"{name}.pyi").exists() == with_stubs
    assert issubclass(part.Part, gr.HTML)
    assert callable(part.Part.click)
