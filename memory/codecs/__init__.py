"""Codecs: encode keys and values into rows of bytes and back."""
