-- Record that workers live, and return what there is to know: workers, the next due moment, whether a job that must
-- run alone is ready, the site, the questions, which are answered, and the time. ARGV: the moment, the number of
-- workers, for each its id, first beat, start and facts, then prefixes of the lines that matter.
local at, number = ARGV[1], tonumber(ARGV[2])

for first = 3, 2 + 4 * number, 4 do
  local id, beat, started_at, facts = unpack(ARGV, first, first + 3)
  redis.call('HDEL', WORKERS, id .. '\0facts')  -- a write that frees memory, so that the others go on when it is full
  if redis.call('HEXISTS', WORKERS, id .. '\0beat') == 1 then
    redis.call('HINCRBY', WORKERS, id .. '\0beat', 1)
  else
    redis.call('HSET', WORKERS, id .. '\0beat', beat, id .. '\0started_at', started_at)
  end
  redis.call('HSET', WORKERS, id .. '\0beat_at', at, id .. '\0facts', facts)
end

local has_alone = false
for first = 3 + 4 * number, #ARGV do
  has_alone = has_alone or #redis.call('ZRANGEBYLEX', ALONE, '[' .. ARGV[first], behind(ARGV[first]), 'LIMIT', 0, 1) > 0
end
return {
  redis.call('HGETALL', WORKERS),
  redis.call('ZRANGE', DEFERRED, 0, 0, 'WITHSCORES')[2] or false,
  has_alone and 1 or 0,
  redis.call('GET', SITE),
  redis.call('HGETALL', QUESTIONS),
  redis.call('HKEYS', ANSWERS),
  redis.call('TIME'),
}
