"""ENTER: the script by which a writer enters blocks and notes into a stream, all or nothing.

KEYS: meta, table, log, lease, state. ARGV: fence, what the keys of blocks begin with, version, then
next_id, bytes, from_s and to_s as they will be, how many notes follow, notes as pairs of name and
value, blocks as pairs of id and entry of the table. An empty value or entry goes.
"""

LOG_LENGTH = 4096
ENTER = """
local fence = redis.call('HGET', KEYS[1], 'fence')
if not fence then return redis.error_reply('EMPTIED') end
if fence ~= ARGV[1] then
    return redis.error_reply('FENCED ' .. (redis.call('GET', KEYS[4]) or 'it has ended'))
end
local entries = {}
if tonumber(redis.call('HGET', KEYS[1], 'version') or 0) ~= tonumber(ARGV[3]) then
    return redis.error_reply('SETBACK')
end
local first = 9 + 2 * tonumber(ARGV[8])
for i = first, #ARGV, 2 do
    local id, entry = ARGV[i], ARGV[i + 1]
    if entry ~= '' then
        local key = ARGV[2] .. id .. ':' .. string.match(entry, '^[^\\n]*')
        if redis.call('EXISTS', key) == 0 then return redis.error_reply('UNWRITTEN ' .. key) end
        redis.call('PERSIST', key)
    end
end
for i = 9, first - 1, 2 do
    if ARGV[i + 1] ~= '' then redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1])
    else redis.call('HDEL', KEYS[5], ARGV[i]) end
end
for i = first, #ARGV, 2 do
    local id, entry = ARGV[i], ARGV[i + 1]
    local old = redis.call('HGET', KEYS[2], id)
    if entry ~= '' then redis.call('HSET', KEYS[2], id, entry)
    else redis.call('HDEL', KEYS[2], id) end
    if old and old ~= entry then
        redis.call('UNLINK', ARGV[2] .. id .. ':' .. string.match(old, '^[^\\n]*'))
    end
    entries[#entries + 1] = id
end
redis.call('HSET', KEYS[1], 'next_id', ARGV[4], 'bytes', ARGV[5], 'from_s', ARGV[6],
           'to_s', ARGV[7], 'blocks', redis.call('HLEN', KEYS[2]))
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('XADD', KEYS[3], 'MAXLEN', '~', LOG_LENGTH, '*',
           'version', version, 'ids', table.concat(entries, ' '))
return version
""".replace("LOG_LENGTH", str(LOG_LENGTH))
