"""InRedisHere: streams on this machine's Redis server, through a socket, `unix://PATH`."""

from memory.tiers.redis import InRedis


class InRedisHere(InRedis):
    """Redis-py handles the scheme."""

    name = "unix"
