-- Enter blocks and notes into a stream, all or nothing.
--
-- KEYS: lease, meta, table, state, log. ARGV: fence, prefix of the keys of blocks, version,
-- then next_id, bytes, from_s and to_s as they will be, how many notes follow, notes as pairs of
-- name and value, blocks as pairs of id and entry of the table. An empty value or entry deletes.
local LOG_LENGTH = 4096
if tonumber(redis.call('HGET', KEYS[2], 'version') or 0) ~= tonumber(ARGV[3]) then
    return redis.error_reply('SETBACK')
end
local entries = {}
local first = 9 + 2 * tonumber(ARGV[8])
for i = first, #ARGV, 2 do
    local id, entry = ARGV[i], ARGV[i + 1]
    if entry ~= '' then
        local key = ARGV[2] .. id .. ':' .. string.match(entry, '^[^\n]*')
        if redis.call('EXISTS', key) == 0 then return redis.error_reply('UNWRITTEN ' .. key) end
        redis.call('PERSIST', key)
    end
end
for i = 9, first - 1, 2 do
    if ARGV[i + 1] ~= '' then redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
    else redis.call('HDEL', KEYS[4], ARGV[i]) end
end
for i = first, #ARGV, 2 do
    local id, entry = ARGV[i], ARGV[i + 1]
    local old = redis.call('HGET', KEYS[3], id)
    if entry ~= '' then redis.call('HSET', KEYS[3], id, entry)
    else redis.call('HDEL', KEYS[3], id) end
    if old and old ~= entry then
        redis.call('UNLINK', ARGV[2] .. id .. ':' .. string.match(old, '^[^\n]*'))
    end
    entries[#entries + 1] = id
end
redis.call('HSET', KEYS[2], 'next_id', ARGV[4], 'bytes', ARGV[5], 'from_s', ARGV[6],
           'to_s', ARGV[7], 'blocks', redis.call('HLEN', KEYS[3]))
local version = redis.call('HINCRBY', KEYS[2], 'version', 1)
redis.call('XADD', KEYS[5], 'MAXLEN', '~', LOG_LENGTH, '*',
           'version', version, 'ids', table.concat(entries, ' '))
return version
