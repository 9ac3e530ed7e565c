-- Store new jobs, all or none. ARGV: the channel to call on or '', whether to pass over ids that are there, the token of
-- a guard or '', then for each job its id, record, line, state, place and order or ''. Returns an id that is taken, or false.
local channel, once, token = ARGV[1], ARGV[2] == '1', ARGV[3]

if token ~= '' and redis.call('GET', GUARD) == token then return false end
if not once then
  for at = 4, #ARGV, 6 do
    if redis.call('HEXISTS', JOBS, ARGV[at]) == 1 then return ARGV[at] end
  end
end
for at = 4, #ARGV, 6 do
  local id, record, line, state, place, order = unpack(ARGV, at, at + 5)
  if redis.call('HSETNX', JOBS, id, record) == 1 then
    begin_order(id, order)
    enter(id, line, state, place)
  end
end
tell(channel)
return false
