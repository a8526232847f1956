-- Sends the requests in a file, in order and again from the first, as fast as they are answered.
--   wrk … -s cycle.lua URL -- REQUESTS
-- The file has each request's length in four bytes, little end first, and its bytes.

local requests, place = {}, 0

-- Read by done(), through the thread.
used = 0

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  local source = assert(io.open(args[1], "rb"))
  while true do
    local length = source:read(4)
    if not length then break end
    local a, b, c, d = length:byte(1, 4)
    requests[#requests + 1] = assert(source:read(a + b * 256 + c * 65536 + d * 16777216), "a request is cut off")
  end
  source:close()
end

function request()
  place, used = place % #requests + 1, used + 1
  return requests[place]
end

function done(summary, latency)
  local sent = 0
  for _, thread in ipairs(threads) do sent = sent + thread:get("used") end
  local errors = summary.errors
  io.write(string.format(
    'summary {"requests":%d,"duration_us":%d,"sent":%d,"repeated":0,"status":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, sent, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
