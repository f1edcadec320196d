"""Blocks on a Redis or Valkey server: the store of `redis://HOST`."""

from memory.tiers.redis.in_redis import InRedis

__all__ = ["InRedis"]
