-- An operator's word that a host is gone for good: the recovery that goes on waits for it no longer, no other heeds it.
-- KEYS: fence
-- ARGV: host
-- Returns 1; 0 where nobody waits for that host.
local fence = redis.call('HMGET', KEYS[1], 'recovering', 'entry', 'need:' .. ARGV[1], 'done:' .. ARGV[1])
if not fence[1] or not fence[3] or fence[4] == fence[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'gone:' .. ARGV[1], '1')
return 1
