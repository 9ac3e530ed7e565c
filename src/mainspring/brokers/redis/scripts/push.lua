-- Store new jobs, all or none. ARGV: whether to pass over ids that are there, the channel to call on or '', then for
-- each job its id, record, line, state and place. Returns an id that is taken, or false.
local once, channel = ARGV[1] == '1', ARGV[2]

if not once then
  for at = 3, #ARGV, 5 do
    if redis.call('HEXISTS', JOBS, ARGV[at]) == 1 then return ARGV[at] end
  end
end
for at = 3, #ARGV, 5 do
  local id, record, line, state, place = unpack(ARGV, at, at + 4)
  if redis.call('HSETNX', JOBS, id, record) == 1 then enter(id, line, state, place) end
end
if channel ~= '' then redis.call('PUBLISH', channel, '') end
return false
