-- Take the stream, if its lease is still the one that was read.
-- KEYS: lease, meta. ARGV: the lease, empty for none; the taker; a random part of the fence.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return false end
local fence = redis.call('HINCRBY', KEYS[2], 'fences', 1) .. '.' .. ARGV[3]
redis.call('HSET', KEYS[2], 'fence', fence)
redis.call('SET', KEYS[1], fence .. ' ' .. ARGV[2])
return fence
