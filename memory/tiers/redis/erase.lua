-- Delete what is left of a stream besides its blocks. KEYS: lease, meta, and others to delete.
redis.call('DEL', unpack(KEYS, 2))
return 1
