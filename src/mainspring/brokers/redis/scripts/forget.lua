-- Forget limits that nobody holds or waits for. ARGV: for each its name and what is kept of it. Returns how many.
local count = 0
for at = 1, #ARGV, 2 do
  local name, kept = ARGV[at], ARGV[at + 1]
  local prefix = name .. '\0'
  local is_awaited = #redis.call('ZRANGEBYLEX', PARKED, '[' .. prefix, behind(prefix), 'LIMIT', 0, 1) > 0
  local is_held = (redis.call('HGET', HELD, name) or '0') ~= '0'
  if redis.call('HGET', LIMITS, name) == kept and not is_awaited and not is_held then
    redis.call('HDEL', HELD, name)
    if not string.find(name, '^' .. FAIR) then count = count + 1 end
    redis.call('HDEL', LIMITS, name)
  end
end
return count
