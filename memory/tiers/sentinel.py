"""InRedisBySentinel: keeps streams on the Redis server that Sentinel says is the master,
`sentinel://HOST:26379,HOST:26379/NAME`.
"""

from memory.tiers.redis import InRedis


class InRedisBySentinel(InRedis):
    """After a failover it goes on with what the new master has."""

    name = "sentinel"
