-- Tells members of a window in the order of their admission, for a host's copy.
-- KEYS: fence, the window's members
-- ARGV: entry, the first one's place and the last one's, from 0
-- Returns them, or nothing where this server is not open, or was recovered since.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local fence = redis.call('HMGET', KEYS[1], 'entry', 'run')
if fence[2] ~= run or fence[1] ~= ARGV[1] then
  return false
end
return redis.call('ZRANGE', KEYS[2], ARGV[2], ARGV[3])
