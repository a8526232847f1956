-- A host's sign of life, once a second: says who it is and what it knows, and is told how the windows stand. Where this
-- server has not what it should have, windows are fenced, and opened again when all that is known has been put back.
-- KEYS: fence
-- ARGV: host; generation, entry and time up to which it has copied everything ('0', '' and '0' for nothing); entry that
--       it has put everything back for; '1' when it leaves; seconds: longest silence of a host that admits, silence
--       after which nobody waits for a host, shortest recovery, silence after which a host is forgotten; now ('' for
--       Redis' own time); then the hosts that it knows to have been there at its time
-- Returns {1 open, 0 fenced; generation; entry; now; hosts waited for; hosts: name, last sign, 1 where it may admit, each;
--       windows: id, members, each}
local host, known_generation, known_entry, known_at = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local done, leaves = ARGV[5], ARGV[6] == '1'
local silence_s, lost_s, settle_s, forget_s = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local time = redis.call('TIME')
local now = tonumber(ARGV[11]) or tonumber(time[1]) + tonumber(time[2]) / 1000000
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')

local fence, hosts = {}, {}
local function take(field, value)
  fence[field] = value
  local name = string.match(field, '^host:(.+)$')
  if name then
    hosts[name] = tonumber(value)
  end
end
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  take(flat[i], flat[i + 1])
end
local function set(field, value)
  value = type(value) == 'number' and string.format('%.17g', value) or value
  if fence[field] ~= value then
    redis.call('HSET', KEYS[1], field, value)
    take(field, value)
  end
end
local function drop(field)
  if fence[field] then
    redis.call('HDEL', KEYS[1], field)
    fence[field] = nil
  end
end
local function drop_all(prefix)
  for field in pairs(fence) do
    if string.sub(field, 1, #prefix) == prefix then
      redis.call('HDEL', KEYS[1], field)
      fence[field] = nil
    end
  end
end
local function forget(name)
  hosts[name] = nil
  drop('host:' .. name)
  drop('known:' .. name)
  drop('since:' .. name)
end

local generation = tonumber(fence.generation or 0)
-- 1. Does this server have what is known, as far as this host can tell?
local seen_generation = math.max(known_generation, tonumber(string.match(done, '^%d+')) or 0)
local is_behind = generation < seen_generation
  or (known_generation > 0 and generation == known_generation and not (fence.run and fence.entry == known_entry))
-- Among members of an older generation than somebody knows may be some who were never told, and whose places are taken.
local is_older = known_generation > tonumber(fence.members or 0)
if (fence.run ~= run and fence.recovering ~= run) or is_behind or is_older then
  -- 2. No: nobody is admitted from here on. What was known here last is a source as the hosts' copies are; one from a
  --    recovery that has not ended stays the source.
  if not fence.recovering then
    set('source_generation', generation)
    set('source_at', tonumber(fence.at or 0))
    drop_all('need:')
    for name, last in pairs(hosts) do
      if fence['known:' .. name] and last >= tonumber(fence.at or 0) - lost_s then
        set('need:' .. name, '1')
      end
    end
  end
  generation = math.max(generation, seen_generation) + 1
  if is_older then
    -- They stay where they are, and nobody asks there any more.
    drop_all('window:')
    set('members', known_generation)
    set('lineage', generation)
  end
  set('generation', generation)
  -- No other recovery has this entry, whichever server it was in and whatever was lost of it. It ends with the lineage,
  -- by which the keys of members are named.
  set('entry', generation .. ':' .. run .. ':' .. time[1] .. '-' .. time[2] .. ':' .. (fence.lineage or 0))
  set('recovering', run)
  set('began', now)
  drop('run')
  drop_all('done:')
end

if fence.recovering then
  -- 3. The newest source says whom to wait for: it has copied whatever was admitted before.
  local source_generation, source_at = tonumber(fence.source_generation), tonumber(fence.source_at)
  local is_same = known_generation == source_generation and known_at == source_at
  local is_newer = known_generation > source_generation or (known_generation == source_generation and known_at > source_at)
  if known_generation > 0 and (is_newer or is_same) then
    if is_newer then
      drop_all('need:')
      set('source_generation', known_generation)
      set('source_at', known_at)
    end
    for i = 12, #ARGV do
      set('need:' .. ARGV[i], '1')
    end
  end
  if leaves then
    forget(host)
  else
    set('host:' .. host, now)
  end
  if done == fence.entry then
    set('done:' .. host, done)
  end
  -- 4. Opened by the last of them; an operator has the word where a host is gone for good.
  local is_complete = not leaves and done == fence.entry and now - tonumber(fence.began) >= settle_s
  for field in pairs(fence) do
    local name = string.match(field, '^need:(.+)$')
    if name and fence['done:' .. name] ~= fence.entry and not fence['gone:' .. name] then
      is_complete = false
    end
  end
  if is_complete then
    for name in pairs(hosts) do
      if not fence['need:' .. name] then
        forget(name) -- nobody else has heard of it; it comes anew
      else
        set('known:' .. name, '1')
      end
    end
    set('members', generation)
    drop('recovering')
    drop('began')
    drop('source_generation')
    drop('source_at')
    drop_all('need:')
    drop_all('done:')
    drop_all('gone:')
    set('run', run)
  end
end

if fence.run then
  -- 5. Open. A host may admit when another one has heard of it, so that it is waited for; alone, at once.
  for i = 12, #ARGV do
    local name = ARGV[i]
    if known_generation == generation and hosts[name] and known_at >= tonumber(fence['since:' .. name] or 0) then
      set('known:' .. name, '1')
    end
  end
  if leaves then
    forget(host)
  else
    if not hosts[host] or now - hosts[host] > silence_s then
      drop('known:' .. host)
      set('since:' .. host, now)
      local is_alone = true
      for name, last in pairs(hosts) do
        is_alone = is_alone and (name == host or now - last > silence_s)
      end
      if is_alone then
        set('known:' .. host, '1')
      end
    end
    set('host:' .. host, now)
  end
  for name, last in pairs(hosts) do
    if now - last > forget_s then
      forget(name)
    end
  end
  set('at', now)
end

local needs, told, windows = {}, {}, {}
for field, value in pairs(fence) do
  local name = string.match(field, '^need:(.+)$')
  if name and fence['done:' .. name] ~= fence.entry and not fence['gone:' .. name] then
    needs[#needs + 1] = name
  end
  local window = string.match(field, '^window:(.+)$')
  if window then
    windows[#windows + 1] = window
    windows[#windows + 1] = tonumber(value)
  end
end
for name, last in pairs(hosts) do
  told[#told + 1] = name
  told[#told + 1] = string.format('%.17g', last)
  told[#told + 1] = fence['known:' .. name] and 1 or 0
end
return {fence.run and 1 or 0, generation, fence.entry, string.format('%.17g', now), needs, told, windows}
