"""A checkpoint's name in, a Video-LLM ready to run out."""
