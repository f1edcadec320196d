-- Begin a stream. KEYS: lease, meta. ARGV: fence, then fields and values.
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
return 1
