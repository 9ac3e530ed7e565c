-- Store what became of claimed jobs. ARGV: the channel to call on or '', that of ends without the id, then for each
-- job its id, token, record, line, state and place. Returns the ids of those that do not run under their token.
-- The first write removes something, so that it goes on when the memory is full.
local channel, ends = ARGV[1], ARGV[2]
local somebody_waits = redis.call('EXISTS', WAITERS) == 1
local refused = {}

for at = 3, #ARGV, 6 do
  local id, token, record, line, state, place = unpack(ARGV, at, at + 5)
  local claim = redis.call('HGET', CLAIMS, id)
  if claim and string.match(claim, '^%d+') == token then
    leave(id, string.match(claim, '%z(.*)$') or line, 'running', '')
    redis.call('HSET', JOBS, id, record)
    enter(id, line, state, place)
    if somebody_waits and IS_END[state] and redis.call('HDEL', WAITERS, id) == 1 then tell(ends .. id) end
  else
    refused[#refused + 1] = id
  end
end
tell(channel)
return refused
