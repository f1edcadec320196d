"""Make, move and decode rows of bytes; each row is one layer of one block."""
