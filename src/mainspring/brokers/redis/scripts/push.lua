-- Store new jobs, all or none. ARGV: the channel to call on or '', whether to pass over ids that are there, the token of
-- a guard or '', then for each job its id, record, line, state and place. Returns an id that is taken, or false.
local channel, once, token = ARGV[1], ARGV[2] == '1', ARGV[3]

if token ~= '' and redis.call('GET', GUARD) == token then return false end
if not once then
  for at = 4, #ARGV, 5 do
    if redis.call('HEXISTS', JOBS, ARGV[at]) == 1 then return ARGV[at] end
  end
end
for at = 4, #ARGV, 5 do
  local id, record, line, state, place = unpack(ARGV, at, at + 4)
  if redis.call('HSETNX', JOBS, id, record) == 1 then enter(id, line, state, place) end
end
tell(channel)
return false
