local kind, attempt = ARGV[1], ARGV[2]
if kind == 'begin' then redis.call('SET', KEYS[2], attempt, 'EX', ARGV[4])
elseif redis.call('GET', KEYS[2]) ~= attempt then return 0 end
redis.call('XADD', KEYS[1], '*', 'kind', kind, 'text', ARGV[3], 'attempt', attempt)
redis.call('EXPIRE', KEYS[1], ARGV[4])
if kind == 'answer' or kind == 'error' then
    redis.call('XACK', KEYS[3], ARGV[5], ARGV[6])
    redis.call('XDEL', KEYS[3], ARGV[6])
end
if ARGV[7] ~= '' then
    redis.call('RPUSH', KEYS[4], ARGV[7])
    redis.call('LTRIM', KEYS[4], -ARGV[8], -1)
    redis.call('EXPIRE', KEYS[4], ARGV[9])
end
return 1
