-- Change a limit, if it is kept as the caller believes, and let those ask again who may have room now. ARGV: the channel to
-- call on or '', its name, what is kept of it or '', and what is to be kept. Returns 1, or 0 if it is another.
local channel, name, kept, new = unpack(ARGV)
if (redis.call('HGET', LIMITS, name) or '') ~= kept then return 0 end
redis.call('HSET', LIMITS, name, new)
unpark_for_room(name)
-- The time for which others wait may be another one now; once they have asked, they know.
local members, ids = parked_under(name, 't', 1000000)
for at, member in ipairs(members) do unpark(member, ids[at]) end
tell(channel)
return 1
