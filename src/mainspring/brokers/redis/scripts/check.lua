-- Fail unless all that is needed may be done, on whatever is there. ARGV: a channel. Nothing is changed.
for _, key in ipairs({JOBS, CLAIMS, WAITERS, WORKERS, QUESTIONS, ANSWERS, UNIQUE}) do redis.call('HDEL', key, '') end
for _, key in ipairs({READY, ALONE, DEFERRED, ENDED, BY_ID}) do redis.call('ZREM', key, '') end
redis.call('GET', SITE)
redis.call('GET', GUARD)
redis.call('PUBLISH', ARGV[1], '')
