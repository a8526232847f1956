-- Publishes one document in one step, if the head is still where the publisher believes it to be.
-- KEYS: head, index, log, document
-- ARGV: expected epoch and revision; epoch, revision and signed bytes of the new head; kind, id and envelope of the
--       document; entries that the log keeps; channel of the hint
-- Returns {1, epoch, revision} when published, {0, epoch, revision} of the head that was found when not.
local found = redis.call('HMGET', KEYS[1], 'epoch', 'revision')
local epoch, revision = tonumber(found[1] or 0), tonumber(found[2] or 0)
if epoch ~= tonumber(ARGV[1]) or revision ~= tonumber(ARGV[2]) then
  return {0, epoch, revision}
end
local position = ARGV[3] .. '-' .. ARGV[4]
redis.call('SET', KEYS[4], ARGV[8])
redis.call('HSET', KEYS[2], ARGV[6] .. ':' .. ARGV[7], position)
local entry = {'XADD', KEYS[3], 'MAXLEN', '~', ARGV[9], position, 'kind', ARGV[6], 'id', ARGV[7]}
local added = redis.pcall(unpack(entry))
if type(added) == 'table' and added.err then
  -- A log that outlived its head has later entries than this. Readers reload everything where the log was cut.
  redis.call('DEL', KEYS[3])
  redis.call(unpack(entry))
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'revision', ARGV[4], 'signed', ARGV[5])
redis.call('PUBLISH', ARGV[10], position)
return {1, tonumber(ARGV[3]), tonumber(ARGV[4])}
