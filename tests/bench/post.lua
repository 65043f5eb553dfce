-- Each request posts one of several bodies, in turn.
--   wrk … -s post.lua URL -- PATH CONTENT-TYPE BODY-FILE…
-- Prints one line of JSON at the end, marked, for the program that started wrk.
local threads = 0

function setup(thread)
  thread:set("count", threads)
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
