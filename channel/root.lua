-- Puts a root document in its place; another one that is there stays, unless it is the one to be replaced.
-- KEYS: the place
-- ARGV: the document; the one that may be replaced ('' for none); how many bytes of a larger one are told and compared
-- Returns nothing when it is there, else the other one.
local found = redis.call('GET', KEYS[1])
if found == ARGV[1] then
  return false
end
local told = found and string.sub(found, 1, ARGV[3])
if told and told ~= ARGV[2] then
  return told
end
redis.call('SET', KEYS[1], ARGV[1])
return false
