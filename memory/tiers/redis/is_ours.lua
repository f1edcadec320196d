-- Prefix of scripts that only the stream's writer may run.
-- KEYS: lease, meta. ARGV: fence.
local fence = redis.call('HGET', KEYS[2], 'fence')
if not fence then return redis.error_reply('EMPTIED') end
if fence ~= ARGV[1] then
    local writer = string.match(redis.call('GET', KEYS[1]) or '', '^%S+ (%S+)')
    return redis.error_reply('FENCED ' .. (writer or 'it has ended'))
end
