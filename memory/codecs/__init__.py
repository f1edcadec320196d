"""Keys and values in, rows of bytes out, and back."""
