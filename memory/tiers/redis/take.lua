-- Take the stream, if its lease is still what was seen of it.
-- KEYS: lease, meta. ARGV: the lease, empty for none; who takes it; a random part of the fence.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return false end
local fence = redis.call('HINCRBY', KEYS[2], 'fences', 1) .. '.' .. ARGV[3]
redis.call('HSET', KEYS[2], 'fence', fence)
redis.call('SET', KEYS[1], fence .. ' ' .. ARGV[2])
return fence
