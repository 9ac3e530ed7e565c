-- Store new jobs, all or none. ARGV: the channel to call on or '', whether to pass over ids that are there, then for
-- each job its id, record, line, state and place. Returns an id that is taken, or false.
local channel, once = ARGV[1], ARGV[2] == '1'

if not once then
  for at = 3, #ARGV, 5 do
    if redis.call('HEXISTS', JOBS, ARGV[at]) == 1 then return ARGV[at] end
  end
end
for at = 3, #ARGV, 5 do
  local id, record, line, state, place = unpack(ARGV, at, at + 4)
  if redis.call('HSETNX', JOBS, id, record) == 1 then enter(id, line, state, place) end
end
tell(channel)
return false
