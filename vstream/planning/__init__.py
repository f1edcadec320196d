"""A question about time in, an answer written from spans that were found out."""
