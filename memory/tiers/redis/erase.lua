-- Delete what is left of a stream beside its blocks. KEYS: lease, meta, and what else is to go.
redis.call('DEL', unpack(KEYS, 2))
return 1
