-- Where limits stand, and whose turn it is. ARGV: the number of limits, their names, and the keys of orders. Returns for
-- each limit what is kept of it or '', how much is held, and 1 if a job is parked under it that waits for its time; and for
-- each key the id of the job whose turn it is.
local found, heads, limits = {}, {}, tonumber(ARGV[1])
for at = 2, 1 + limits do
  local name = ARGV[at]
  local prefix = name .. '\0t'
  found[#found + 1] = redis.call('HGET', LIMITS, name) or ''
  found[#found + 1] = redis.call('HGET', HELD, name) or '0'
  found[#found + 1] = #redis.call('ZRANGEBYLEX', PARKED, '[' .. prefix, behind(prefix), 'LIMIT', 0, 1)
end
for at = 2 + limits, #ARGV do
  give_turns(ARGV[at])
  heads[#heads + 1] = head_of(ARGV[at])
end
return {found, heads}
