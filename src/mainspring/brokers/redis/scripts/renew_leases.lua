-- Hold leases for longer, or give them back. ARGV: the microseconds by which a test has moved the clock, how long they
-- shall hold, 0 to give them back, then for each its name and token, those of one name together. Returns the numbers of
-- those that are not lost.
local ends_at = tonumber(ARGV[2]) > 0 and whole(moment() + ARGV[1] + ARGV[2])
local at, found = 3, {}

while at <= #ARGV do
  local name, numbers, kept = ARGV[at], {}, {}
  while ARGV[at] == name do
    numbers[ARGV[at + 1]] = (at - 3) / 2
    at = at + 2
  end
  for token, before in leases_of(name) do
    local ends = before
    if numbers[token] then
      found[#found + 1] = numbers[token]
      ends = ends_at
    end
    if ends then kept[#kept + 1] = token .. ':' .. ends end
  end
  if #kept > 0 then
    redis.call('HSET', LEASES, name, table.concat(kept, ' '))
  else
    redis.call('HDEL', LEASES, name)
  end
end
return found
