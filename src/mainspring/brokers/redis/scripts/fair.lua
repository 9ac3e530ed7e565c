-- Jobs that wait for a rank. ARGV: the name behind which to begin, the most names, and how many jobs in all. Returns the
-- names whose turn it is, and ids and records of the first jobs of each.
local after, most, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local names, ids = {}, {}

local function look(from, to)
  while #names < most do
    local member = redis.call('ZRANGEBYLEX', PARKED, from, to, 'LIMIT', 0, 1)[1]
    if not member then return end
    local name = string.match(member, '^([^%z]*)%z')
    names[#names + 1] = name or member
    from = name and behind(name .. '\0') or '(' .. member
  end
end

look(after == '' and '[' .. FAIR or behind(after .. '\0'), behind(FAIR))
if after ~= '' then look('[' .. FAIR, behind(after .. '\0')) end
local share = math.max(1, math.floor(limit / math.max(1, #names)))
for _, name in ipairs(names) do
  local prefix = name .. '\0r'
  for _, member in ipairs(redis.call('ZRANGEBYLEX', PARKED, '[' .. prefix, behind(prefix), 'LIMIT', 0, share)) do
    local id = string.sub(member, #prefix + 17)
    if redis.call('HEXISTS', JOBS, id) == 1 then
      ids[#ids + 1] = id
    else
      redis.call('ZREM', PARKED, member)  -- somebody's mistake
    end
  end
end
return {names, ids, values_of(JOBS, ids)}
