-- Move jobs that nobody runs, each only if its record is still what the caller has read. ARGV: the channel to call on
-- or '', that of ends without the id, then for each job its id, line, old record, state, place and the key that it holds
-- or '', the new record, state, place and key, and what it leaves of limits or ''. Returns the ids of those that were
-- moved, of those that waited for one that has ended, and how many may ask again.
local channel, ends = ARGV[1], ARGV[2]
local moved, waited, ready = {}, {}, 0

for at = 3, #ARGV, 11 do
  local id, line, old, old_state, old_place, former, new, state, place, wanted, left = unpack(ARGV, at, at + 10)
  local is_as_read = redis.call('HGET', JOBS, id) == old and redis.call('HEXISTS', CLAIMS, id) == 0
  if is_as_read and may_hold(id, wanted) then
    leave(id, line, old_state, old_place)
    if former ~= wanted then hold(id, former, wanted) end
    redis.call('HSET', JOBS, id, new)
    enter(id, line, state, place)
    moved[#moved + 1] = id
    if IS_END[state] then
      ready = ready + give_back(id, left) + lose_turn(id)
      if redis.call('HDEL', WAITERS, id) == 1 then tell(ends .. id) end
      note_end(id, unique_key_of(new))
      local behind = holder_of(former ~= '' and '+' .. former or '')
      if behind ~= '' then waited[#waited + 1] = behind end
    end
  end
end
tell(channel)
return {moved, waited, ready}
