-- reserve.lua at a fixed rate: each request has its own moment, and a late one doesn't move the
-- ones after it.
--   wrk … -s paced.lua URL -- PREFIX SKUS REQUESTS_PER_SECOND
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")
dofile(here .. "/reserve.lua")

local ffi = require("ffi")
ffi.cdef[[
  typedef struct { long seconds; long nanoseconds; } moment;
  int clock_gettime(int clock, moment *now);
]]
local MONOTONIC = 1
-- As many as the harness gives wrk for several connections.
local THREADS = 2
local moment = ffi.new("moment")

local function now_ms()
  ffi.C.clock_gettime(MONOTONIC, moment)
  return tonumber(moment.seconds) * 1000 + tonumber(moment.nanoseconds) / 1e6
end

local init_unpaced = init

function init(args)
  init_unpaced(args)
  interval_ms = 1000 * THREADS / tonumber(args[3])
  next_ms = now_ms()
end

-- Asked before each request of any connection of this thread but a connection's first.
function delay()
  next_ms = next_ms + interval_ms
  return math.max(0, math.floor(next_ms - now_ms() + 0.5))
end
