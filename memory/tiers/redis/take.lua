-- Take the lease unless somebody holds it.
-- KEYS: lease, meta. ARGV: owner, milliseconds of the lease, a random part of the fence.
local holder = redis.call('GET', KEYS[1])
if holder then return {0, holder} end
local fence = redis.call('HINCRBY', KEYS[2], 'fences', 1) .. '.' .. ARGV[3]
redis.call('HSET', KEYS[2], 'fence', fence)
redis.call('SET', KEYS[1], fence .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {fence, ARGV[1]}
