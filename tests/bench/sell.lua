-- Each request sells one unit, spread over the SKUs of a generated store
-- (store-node/examples/generate_store.rs).
--   wrk … -s sell.lua URL -- SKUS
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")
dofile(here .. "/reserve.lua")

local BODY = '{"quantity":1}'

function init(args)
  skus = tonumber(args[1])
  count = 0
  tail = "/sell HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port ..
         "\r\nContent-Type: application/json\r\nContent-Length: " .. #BODY .. "\r\n\r\n" .. BODY
end

function request()
  count = count + 1
  local item = (count * 7919 + number * 5003) % skus
  return string.format("POST /api/inventory/S%011d%s", item * 7368787 % 100000000000, tail)
end
