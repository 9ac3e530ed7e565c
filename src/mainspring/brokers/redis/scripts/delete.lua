-- Delete ended jobs. ARGV: for each its id, line, state and place. Returns how many were there.
local deleted = 0
for at = 1, #ARGV, 4 do
  local id, line, state, place = unpack(ARGV, at, at + 3)
  -- Pruned meanwhile, the id may be that of a new job.
  if redis.call('ZSCORE', ENDED, state .. '\0' .. line .. place .. id) then
    deleted = deleted + forget(id, line, state, place)
  end
end
return deleted
