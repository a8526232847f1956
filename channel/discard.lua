-- Takes away a head that nobody may believe, with the index and the log that led to it, in one step.
-- KEYS: head, index, log
-- ARGV: epoch, revision and signed bytes of the head as it was found ('' for a field that it had not)
-- Returns 1 when it is gone, 0 when there is another head by now.
local found = redis.call('HMGET', KEYS[1], 'epoch', 'revision', 'signed')
for i = 1, 3 do
  if (found[i] or '') ~= ARGV[i] then
    return 0
  end
end
redis.call('DEL', unpack(KEYS))
return 1
