"""Turns a checkpoint's name into a Video-LLM ready to run."""
