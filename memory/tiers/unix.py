"""InRedisHere: streams on a server of this machine behind a socket, `unix://PATH`."""

from memory.tiers.redis import InRedis


class InRedisHere(InRedis):
    """Redis-py does the rest."""

    name = "unix"
