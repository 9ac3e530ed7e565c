-- Store what became of claimed jobs. ARGV: the channel to call on or '', that of ends without the id, then for each
-- job its id, token, record, line, state and place, what it holds at the most and what it
-- shall hold of its unique key, and that key, or ''. Returns the
-- ids of those that do not run under their token, or want a key that another holds, and the ids of those that waited
-- for one that has ended. The first write removes something, so that it goes on when the memory is full.
local channel, ends = ARGV[1], ARGV[2]
local somebody_waits = redis.call('EXISTS', WAITERS) == 1
local refused, waited = {}, {}

for at = 3, #ARGV, 9 do
  local id, token, record, line, state, place, key, wanted, unique_key = unpack(ARGV, at, at + 8)
  local claim = redis.call('HGET', CLAIMS, id)
  if claim and string.match(claim, '^%d+') == token and may_hold(id, wanted) then
    leave(id, string.match(claim, '%z(.*)$') or line, 'running', '')
    if key ~= '' then hold(id, key, wanted) end
    redis.call('HSET', JOBS, id, record)
    enter(id, line, state, place)
    if somebody_waits and IS_END[state] and redis.call('HDEL', WAITERS, id) == 1 then tell(ends .. id) end
    if key ~= '' and IS_END[state] then
      note_end(id, unique_key)
      local behind = holder_of('+' .. key)
      if behind ~= '' then waited[#waited + 1] = behind end
    end
  else
    refused[#refused + 1] = id
  end
end
tell(channel)
return {refused, waited}
