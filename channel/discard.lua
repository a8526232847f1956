-- Takes away a head that nobody may believe, with the index and the log that led to it, in one step.
-- KEYS: head, index, log
-- ARGV: epoch, revision and signed bytes of the head as it was found ('' for a field that it had not); how large a field
--       is still told as it is, and not by its size
-- Returns 1 when it is gone, 0 when there is another head by now.
for i, name in ipairs({'epoch', 'revision', 'signed'}) do
  local size = redis.call('HSTRLEN', KEYS[1], name)
  local told = size > tonumber(ARGV[4]) and size .. ' bytes' or redis.call('HGET', KEYS[1], name) or ''
  if told ~= ARGV[i] then
    return 0
  end
end
redis.call('DEL', unpack(KEYS))
return 1
