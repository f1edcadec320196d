-- Stands before what the holder of the lease alone may do.
-- KEYS: lease, meta. ARGV: fence.
local fence = redis.call('HGET', KEYS[2], 'fence')
if not fence then return redis.error_reply('EMPTIED') end
if fence ~= ARGV[1] then
    return redis.error_reply('FENCED ' .. (redis.call('GET', KEYS[1]) or 'it has ended'))
end
