"""InRedisByTls: streams on a server that is spoken to through TLS, `rediss://HOST`."""

from memory.tiers.redis import InRedis


class InRedisByTls(InRedis):
    """Redis-py does the rest."""

    name = "rediss"
