-- KEYS: task, by, running, ended. ARGV: id, its holder, lease in ms, seconds to keep, how many ended
-- ones to keep, whether it ends, the number of the first line, lines.
local by = redis.call('GET', KEYS[2])
if by and by ~= ARGV[2] then return redis.error_reply('FENCED ' .. by) end
local there = redis.call('LLEN', KEYS[1])
if there < tonumber(ARGV[7]) then return end  -- it was forgotten
for n = 8, #ARGV do  -- lines of a call whose reply was lost are not added twice
    if ARGV[7] + n - 8 >= there then redis.call('RPUSH', KEYS[1], ARGV[n]) end
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
if ARGV[6] == '0' then
    redis.call('SADD', KEYS[3], ARGV[1])
    return redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
redis.call('SET', KEYS[2], 'nobody', 'EX', ARGV[4])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('RPUSH', KEYS[4], ARGV[1])
while redis.call('LLEN', KEYS[4]) > tonumber(ARGV[5]) do
    redis.call('DEL', 'vstream:task:' .. redis.call('LPOP', KEYS[4]))
end
