-- Record that workers live, and return what there is to know: workers, the next due moment, whether a job that must
-- run alone is ready, the site, the questions, which are answered, whether any other job is ready if that is asked, and
-- the time. ARGV: the moment, whether that is asked, the number of workers, for each its id, first beat, start and
-- facts, then prefixes of the lines that matter.
local at, with_ready, number = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])

for first = 4, 3 + 4 * number, 4 do
  local id, beat, started_at, facts = unpack(ARGV, first, first + 3)
  redis.call('HDEL', WORKERS, id .. '\0facts')  -- a write that frees memory, so that the others go on when it is full
  if redis.call('HEXISTS', WORKERS, id .. '\0beat') == 1 then
    redis.call('HINCRBY', WORKERS, id .. '\0beat', 1)
  else
    redis.call('HSET', WORKERS, id .. '\0beat', beat, id .. '\0started_at', started_at)
  end
  redis.call('HSET', WORKERS, id .. '\0beat_at', at, id .. '\0facts', facts)
end

local function is_any_in(line)
  for first = 4 + 4 * number, #ARGV do
    if #redis.call('ZRANGEBYLEX', line, '[' .. ARGV[first], behind(ARGV[first]), 'LIMIT', 0, 1) > 0 then return 1 end
  end
  return 0
end

return {
  redis.call('HGETALL', WORKERS),
  next_due(),
  is_any_in(ALONE),
  redis.call('GET', SITE),
  redis.call('HGETALL', QUESTIONS),
  redis.call('HKEYS', ANSWERS),
  with_ready and is_any_in(READY) or 0,
  redis.call('TIME'),
}
