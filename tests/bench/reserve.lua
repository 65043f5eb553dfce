-- Each request reserves one unit under an order id of its own, spread over the SKUs.
--   wrk … -s reserve.lua URL -- PREFIX SKUS
-- Prints one line of JSON at the end, marked, for the program that started wrk.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  prefix = args[1]
  skus = tonumber(args[2])
  count = 0
  head = " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port ..
         "\r\nContent-Type: application/json\r\nContent-Length: "
end

function request()
  count = count + 1
  local sku = (count * 7919 + number * 5003) % skus
  local body = '{"orderId":"' .. prefix .. "-" .. number .. "-" .. count .. '","quantity":1}'
  return string.format("POST /api/inventory/SKU-%05d/reserve%s%d\r\n\r\n%s", sku, head, #body, body)
end

function done(summary, latency, requests)
  io.write(string.format(
    'onhand-wrk {"requests":%d,"refused":%d,"broken":%d,"microseconds":%d,"p50Us":%d,"p99Us":%d,"maxUs":%d}\n',
    summary.requests, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99), latency.max))
end
