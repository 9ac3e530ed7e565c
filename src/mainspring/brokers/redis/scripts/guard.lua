-- The first of several pushes in one transaction, which stand or fall together. ARGV: a token, and the ids of all their
-- jobs. Returns an id that is taken, or false; where one is, the pushes with this token do nothing. Nobody else heeds
-- it, so it may stay for long: by the clock of some servers seconds pass within a transaction.
for at = 2, #ARGV do
  if redis.call('HEXISTS', JOBS, ARGV[at]) == 1 then
    redis.call('SET', GUARD, ARGV[1], 'EX', 3600)
    return ARGV[at]
  end
end
return false
