-- Move jobs that nobody runs, each only if its record is still what the caller has read. ARGV: the channel to call on
-- or '', that of ends without the id, then for each job its id, line, old record, state and place, and the new ones.
-- Returns the ids of those that were moved.
local channel, ends = ARGV[1], ARGV[2]
local moved = {}

for at = 3, #ARGV, 8 do
  local id, line, old, old_state, old_place, new, state, place = unpack(ARGV, at, at + 7)
  if redis.call('HGET', JOBS, id) == old and redis.call('HEXISTS', CLAIMS, id) == 0 then
    leave(id, line, old_state, old_place)
    redis.call('HSET', JOBS, id, new)
    enter(id, line, state, place)
    moved[#moved + 1] = id
    if IS_END[state] and redis.call('HDEL', WAITERS, id) == 1 then tell(ends .. id) end
  end
end
tell(channel)
return moved
