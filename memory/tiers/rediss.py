"""InRedisByTls: streams on a Redis server through TLS, `rediss://HOST`."""

from memory.tiers.redis import InRedis


class InRedisByTls(InRedis):
    """Redis-py handles the scheme."""

    name = "rediss"
