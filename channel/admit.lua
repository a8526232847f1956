-- Answers a batch of those who ask for a place in windows, in one step, and admits whom it may.
-- KEYS: fence, then each window's members
-- ARGV: host, entry (of the recovery that the host has taken part in), how long a host may be silent, now ('' for Redis' own time); then for each window
--       id, limit, opening and closing time, places a minute ('' for any number), fingerprints of 8 bytes each
-- Returns a text for each window, with a letter for each fingerprint: m(ember), a(dmitted now), f(ull), c(losed),
--       l(ater, in another minute), x (fenced: this server, or this host, may tell nobody that there is a place)
local host, entry, silence_s = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local fence = redis.call('HMGET', KEYS[1], 'run', 'entry', 'host:' .. host, 'known:' .. host)
local is_open = fence[1] == run and fence[2] == entry and fence[4] and now - tonumber(fence[3] or 0) <= silence_s
local minute = math.floor(now / 60)

local replies = {}
for i = 2, #KEYS do
  local at = 5 + (i - 2) * 6
  local id, limit, opens_at, closes_at = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local per_minute, prints = tonumber(ARGV[at + 4]), ARGV[at + 5]
  local told = redis.call('HMGET', KEYS[1], 'window:' .. id, 'minute:' .. id)
  local count = redis.call('ZCARD', KEYS[i])
  if count < tonumber(told[1] or 0) then
    -- Members are gone while the fence is not: as bad as another server. The next beat begins a recovery.
    redis.call('HDEL', KEYS[1], 'run')
    is_open = false
  end
  local used_minute, used = string.match(told[2] or '', '^(%d+):(%d+)$')
  used = tonumber(used_minute) == minute and tonumber(used) or 0
  local letters, admitted = {}, 0
  for start = 1, #prints, 8 do
    local print = string.sub(prints, start, start + 7)
    local letter
    if not is_open then
      letter = 'x'
    elseif redis.call('ZSCORE', KEYS[i], print) then
      letter = 'm'
    elseif now < opens_at or now >= closes_at then
      letter = 'c'
    elseif count >= limit then
      letter = 'f'
    elseif per_minute and used >= per_minute then
      letter = 'l'
    else
      count, used, admitted = count + 1, used + 1, admitted + 1
      redis.call('ZADD', KEYS[i], count, print)
      letter = 'a'
    end
    letters[#letters + 1] = letter
  end
  if admitted > 0 then
    redis.call('HSET', KEYS[1], 'window:' .. id, count)
    if per_minute then
      redis.call('HSET', KEYS[1], 'minute:' .. id, minute .. ':' .. used)
    end
  end
  replies[i - 1] = table.concat(letters)
end
return replies
