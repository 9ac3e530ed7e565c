-- Store what became of claimed jobs. ARGV: the channel to call on or '', that of ends without the id, then for each
-- job its id, token, record, line, state and place, its unique key or '', and that again if it shall hold it. Returns the
-- ids of those that do not run under their token, or want a key that another holds, and the ids of those that waited
-- for one that has ended. The first write removes something, so that it goes on when the memory is full.
local channel, ends = ARGV[1], ARGV[2]
local somebody_waits = redis.call('EXISTS', WAITERS) == 1
local refused, waited = {}, {}

for at = 3, #ARGV, 8 do
  local id, token, record, line, state, place, key, wanted = unpack(ARGV, at, at + 7)
  local claim = redis.call('HGET', CLAIMS, id)
  if claim and string.match(claim, '^%d+') == token and may_hold(id, wanted) then
    leave(id, string.match(claim, '%z(.*)$') or line, 'running', '')
    if key ~= '' then hold(id, key, wanted) end
    redis.call('HSET', JOBS, id, record)
    enter(id, line, state, place)
    if somebody_waits and IS_END[state] and redis.call('HDEL', WAITERS, id) == 1 then tell(ends .. id) end
    local behind = key ~= '' and IS_END[state] and holder_of('+' .. key) or ''
    if behind ~= '' then waited[#waited + 1] = behind end
  else
    refused[#refused + 1] = id
  end
end
tell(channel)
return {refused, waited}
