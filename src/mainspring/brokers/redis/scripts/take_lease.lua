-- Take a place under a name. ARGV: the name, how many places there are, the microseconds by which a test has moved the
-- clock, how long a lease holds, and how long a name is remembered. Returns its token, or false while all are held.
local name, slots, now = ARGV[1], tonumber(ARGV[2]), moment() + ARGV[3]
local length, remembered = tonumber(ARGV[4]), tonumber(ARGV[5])

local live = leases_after(name, now)
if #live >= slots then return false end
local last = redis.call('ZSCORE', FENCES, name)
if not last then
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', FENCES, '-inf', '(' .. whole(now - remembered), 'LIMIT', 0, 100)) do
    if #leases_after(old, now) > 0 then
      redis.call('ZADD', FENCES, whole(now), old)  -- still held, and not looked at again for as long
    else
      redis.call('HDEL', LEASES, old)
      redis.call('ZREM', FENCES, old)
    end
  end
end
local token = whole(math.max((tonumber(last) or 0) + 1, now))
redis.call('ZADD', FENCES, token, name)
live[#live + 1] = token .. ':' .. whole(now + length)
redis.call('HSET', LEASES, name, table.concat(live, ' '))
return token
