"""Blocks on a Redis or Valkey server: the store of `redis://HOST`."""
