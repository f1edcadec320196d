-- KEYS: lease. ARGV: the random part of the fence under which it was taken.
local lease = redis.call('GET', KEYS[1])
if lease and string.match(lease, '^%d+%.(%x+) ') == ARGV[1] then redis.call('DEL', KEYS[1]) end
