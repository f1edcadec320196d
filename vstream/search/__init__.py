"""A few words in, the moments of the past that are most like them out."""
