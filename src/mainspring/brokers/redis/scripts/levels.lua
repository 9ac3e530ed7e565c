-- Where limits stand. ARGV: their names. Returns for each what is kept of it or '', how much is held, and 1 if a job is
-- parked under it that waits for its time.
local found = {}
for _, name in ipairs(ARGV) do
  local prefix = name .. '\0t'
  found[#found + 1] = redis.call('HGET', LIMITS, name) or ''
  found[#found + 1] = redis.call('HGET', HELD, name) or '0'
  found[#found + 1] = #redis.call('ZRANGEBYLEX', PARKED, '[' .. prefix, behind(prefix), 'LIMIT', 0, 1)
end
return found
