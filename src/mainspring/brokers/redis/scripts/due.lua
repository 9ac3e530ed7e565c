-- Deferred jobs that are due. ARGV: the moment, the limit. Returns lines, ids and records, and when the first of all
-- is due. What has no record is taken away, or it would be due for ever.
local lines, ids = {}, {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', DEFERRED, '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  local line, id = string.match(member, '^([^%z]*%z[^%z]*%z)([^%z]*)$')
  if id and redis.call('HEXISTS', JOBS, id) == 1 then
    lines[#lines + 1], ids[#ids + 1] = line, id
  else
    redis.call('ZREM', DEFERRED, member)
  end
end
return {lines, ids, values_of(JOBS, ids), next_due()}
