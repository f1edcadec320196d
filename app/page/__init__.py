"""The web page, with Gradio: it reaches the service only through app/client.py."""

from app.page.without_stubs import without_stubs

with without_stubs():
    import gradio as gr

__all__ = ["gr", "without_stubs"]
