-- Each request posts one of several bodies, in turn; each thread begins elsewhere, so that one
-- doesn't find in the caches what the other has just asked for.
--   wrk … -s post.lua URL -- PATH CONTENT-TYPE BODY-FILE…
-- Prints one line of JSON at the end, marked, for the program that started wrk.
-- As many as the harness gives wrk for several connections.
local THREADS = 2
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  requests = {}
  for i = 3, #args do
    local file = assert(io.open(args[i], "rb"))
    local body = file:read("*a")
    file:close()
    requests[#requests + 1] = wrk.format("POST", args[1], { ["Content-Type"] = args[2] }, body)
  end
  count = math.floor(number * #requests / THREADS)
end

function request()
  count = count + 1
  return requests[count % #requests + 1]
end

function done(summary, latency, requests)
  io.write(string.format(
    'onhand-wrk {"requests":%d,"refused":%d,"broken":%d,"microseconds":%d,"p50Us":%d,"p99Us":%d,"maxUs":%d}\n',
    summary.requests, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99), latency.max))
end
