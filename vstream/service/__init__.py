"""The service: many live streams and standing questions on one model, without a word of HTTP."""
