-- Puts documents back, and a head if one is given, in one step; lowers nothing and wakes nobody.
-- KEYS: head, index, then one document each
-- ARGV: epoch, revision and signed bytes of the head ('' for none yet); then kind:id, epoch, revision, envelope each
-- Returns {1, epoch, revision} when done, {0, epoch, revision} of the head that was found when that is higher.
local function is_lower(epoch, revision, than_epoch, than_revision)
  return epoch < than_epoch or (epoch == than_epoch and revision < than_revision)
end

local wanted_epoch, wanted_revision = tonumber(ARGV[1]), tonumber(ARGV[2])
local found = redis.call('HMGET', KEYS[1], 'epoch', 'revision')
local epoch, revision = tonumber(found[1] or 0), tonumber(found[2] or 0)
if is_lower(wanted_epoch, wanted_revision, epoch, revision) then
  return {0, epoch, revision}
end

for i = 3, #KEYS do
  local at = 4 + (i - 3) * 4
  local has_epoch, has_revision = string.match(redis.call('HGET', KEYS[2], ARGV[at]) or '', '^(%d+)-(%d+)$')
  local there = has_epoch and redis.call('EXISTS', KEYS[i]) == 1
  if not there or is_lower(tonumber(has_epoch), tonumber(has_revision), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])) then
    redis.call('SET', KEYS[i], ARGV[at + 3])
    redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1] .. '-' .. ARGV[at + 2])
  end
end

if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'revision', ARGV[2], 'signed', ARGV[3])
end
return {1, wanted_epoch, wanted_revision}
