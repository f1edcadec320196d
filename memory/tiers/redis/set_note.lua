-- KEYS: lease, meta. ARGV: fence, note.
redis.call('HSET', KEYS[2], 'note', ARGV[2])
return 1
