-- Take what claimed jobs need of limits, if these stand where the caller believes. ARGV: the number of limits, for each
-- its name, what is kept of it or '', how much is held, and what is to be kept; then for each job its id, its token and
-- what it takes, a JSON list of pairs. Returns false, or the ids of the jobs that run under their token.
local limits = tonumber(ARGV[1])
local first = 2 + 4 * limits

for at = 2, first - 1, 4 do
  local name, kept, held = unpack(ARGV, at, at + 2)
  if (redis.call('HGET', LIMITS, name) or '') ~= kept or (redis.call('HGET', HELD, name) or '0') ~= held then
    return false
  end
end
for at = 2, first - 1, 4 do redis.call('HSET', LIMITS, ARGV[at], ARGV[at + 3]) end

local admitted = {}
for at = first, #ARGV, 3 do
  local id, token, costs = unpack(ARGV, at, at + 2)
  local claim = redis.call('HGET', CLAIMS, id)
  if claim and string.match(claim, '^%d+') == token then
    local left = redis.call('HGET', HOLDS, id)  -- by somebody's mistake
    for _, pair in ipairs(left and cjson.decode(left) or {}) do redis.call('HINCRBY', HELD, pair[1], -pair[2]) end
    redis.call('HSET', HOLDS, id, costs)
    for _, pair in ipairs(cjson.decode(costs)) do redis.call('HINCRBY', HELD, pair[1], pair[2]) end
    admitted[#admitted + 1] = id
  end
end
return admitted
