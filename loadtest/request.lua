-- Sends the requests of a population, in order and each once. It decides nothing: which device goes with which template is
-- in the records. See population.py for what the two files hold.
--   wrk … -s request.lua URL -- TEMPLATES RECORDS START COUNT ADDRESS_AT REQUEST_ID_AT DEVICE_ID_AT
--
-- A record's id and address are written into the template itself, behind Lua's back: joining strings costs wrk a
-- microsecond a request (a new string, its hash, the collector), and nginx would then wait for its questions. A template is
-- looked at by nobody but wrk, which copies it at once.
--
-- When the records are used up it begins again and counts that: the bench then throws the round away.

local ffi = require("ffi")
ffi.cdef([[
  typedef struct __attribute__((packed)) { char id[16]; char address[16]; uint32_t template_index; } graywave_record;
]])

local RECORDS_A_CHUNK = 4096
local ADDRESS_CHARS, ID_CHARS = 15, 16
local copy, cast = ffi.copy, ffi.cast

local templates, starts = {}, {}
local file, start, count, address_at, request_id_at, device_id_at
local chunk, records, place, ready, left

-- These two are read by done(), through the thread.
used, repeated = 0, 0

local function read_templates(path)
  local source = assert(io.open(path, "rb"))
  local index = 0
  while true do
    local length = source:read(4)
    if not length then break end
    local a, b, c, d = length:byte(1, 4)
    local template = assert(source:read(a + b * 256 + c * 65536 + d * 16777216), "a template is cut off")
    templates[index], starts[index] = template, cast("char *", template)
    index = index + 1
  end
  source:close()
end

local function rewind()
  file:seek("set", start * ffi.sizeof("graywave_record"))
  left = count
end

local function refill()
  if left == 0 then
    repeated = repeated + 1
    rewind()
  end
  ready, place = math.min(RECORDS_A_CHUNK, left), 0
  chunk = assert(file:read(ready * ffi.sizeof("graywave_record")), "no more records")
  records = cast("const graywave_record *", chunk)
  left = left - ready
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  read_templates(args[1])
  file = assert(io.open(args[2], "rb"))
  start, count = tonumber(args[3]), tonumber(args[4])
  address_at, request_id_at, device_id_at = tonumber(args[5]), tonumber(args[6]), tonumber(args[7])
  rewind()
  refill()
end

function request()
  if place == ready then refill() end
  local record = records + place
  local index = record.template_index
  local text = starts[index]
  copy(text + address_at, record.address, ADDRESS_CHARS)
  copy(text + request_id_at, record.id, ID_CHARS)
  copy(text + device_id_at, record.id, ID_CHARS)
  place, used = place + 1, used + 1
  return templates[index]
end

function done(summary, latency, requests)
  local sent, again = 0, 0
  for _, thread in ipairs(threads) do
    sent, again = sent + thread:get("used"), again + thread:get("repeated")
  end
  local errors = summary.errors
  io.write(string.format(
    'summary {"requests":%d,"duration_us":%d,"sent":%d,"repeated":%d,"status":%d,"broken":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, sent, again, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
