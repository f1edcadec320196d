"""A run of any benchmark: its description, what was asked and scored, its report, comparisons."""
