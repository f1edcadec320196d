"""The web page: a ServiceClient in, a Gradio page over it out; it knows app/client.py alone."""

from app.page.without_stubs import without_stubs

with without_stubs():
    import gradio as gr

__all__ = ["gr", "without_stubs"]
