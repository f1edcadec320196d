"""The service: many live streams and alerts on one model, without a word of HTTP."""
