"""The HTTP service: requests in, answers, events and frames out."""
