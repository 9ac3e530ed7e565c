-- Change a limit, if it is kept as the caller believes. ARGV: the channel to call on or '', its name, what is kept of it or
-- '', what is to be kept, and how many of those may ask again that wait for room. Returns 1, or 0 if it is another.
local channel, name, kept, new, number = unpack(ARGV)
if (redis.call('HGET', LIMITS, name) or '') ~= kept then return 0 end
redis.call('HSET', LIMITS, name, new)
unpark(name, tonumber(number), 'r')
unpark(name, 1000000, 't')  -- the time for which they wait may be another one now; once they have asked, they know
tell(channel)
return 1
