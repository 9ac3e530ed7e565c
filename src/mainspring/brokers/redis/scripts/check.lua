-- Fail unless all that is needed may be done, on whatever is there. ARGV: a channel. Nothing is changed.
local hashes = {JOBS, CLAIMS, WAITERS, WORKERS, QUESTIONS, ANSWERS, UNIQUE, LIMITS, HELD, HOLDS, UNPARKED, ORDERS, LEASES}
for _, key in ipairs(hashes) do redis.call('HDEL', key, '') end
for _, key in ipairs({READY, ALONE, DEFERRED, ENDED, BY_ID, PARKED, TURNS, FENCES}) do redis.call('ZREM', key, '') end
redis.call('GET', SITE)
redis.call('GET', GUARD)
redis.call('PUBLISH', ARGV[1], '')
