local now = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], now[1] - ARGV[1], '+inf')
