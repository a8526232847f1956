-- Puts members back that a host knows of, behind those that are there; whoever was admitted stays, whatever the limit.
-- KEYS: fence, the window's members
-- ARGV: entry of the recovery that they are put back in, the window's id, fingerprints of 8 bytes each
-- Returns 1 when done, 0 when this server is in another one by now.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local fence = redis.call('HMGET', KEYS[1], 'entry', 'run', 'recovering')
if fence[1] ~= ARGV[1] or (fence[2] ~= run and fence[3] ~= run) then
  return 0
end
local count = redis.call('ZCARD', KEYS[2])
for start = 1, #ARGV[3], 8 do
  count = count + redis.call('ZADD', KEYS[2], 'NX', count + 1, string.sub(ARGV[3], start, start + 7))
end
redis.call('HSET', KEYS[1], 'window:' .. ARGV[2], count)
return 1
