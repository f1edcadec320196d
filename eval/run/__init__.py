"""A run of any benchmark: its description, questions, scores, report and comparisons."""
