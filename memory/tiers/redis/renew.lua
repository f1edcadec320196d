-- Hold the lease for longer. KEYS: lease, meta. ARGV: fence, owner, milliseconds.
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
return 1
