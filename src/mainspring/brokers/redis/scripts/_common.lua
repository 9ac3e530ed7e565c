-- What every script begins with. Members of the sorted sets are "<...>\0<place><id>", nearly all with the score 0, so
-- that Redis keeps them in the order of their bytes. What stands up to the last NUL is called a line.

-- Redis before 7 would replay whole scripts on replicas, and refuse to write after it has read a set.
if redis.replicate_commands then redis.replicate_commands() end

local JOBS, CLAIMS, READY, ALONE, DEFERRED, ENDED, BY_ID, WAITERS, WORKERS, QUESTIONS, ANSWERS, SITE = unpack(KEYS)
local FIRST_ALONE = '2000000000000000'  -- the place of jobs that crashed before, from here on
local SLICE = 4000  -- values that one call can take; Lua's stack ends at about 8000

local function bulk(command, key, values)
  for from = 1, #values, SLICE do
    redis.call(command, key, unpack(values, from, math.min(from + SLICE - 1, #values)))
  end
end

local function values_of(key, fields)
  local found = {}
  for from = 1, #fields, SLICE do
    local some = redis.call('HMGET', key, unpack(fields, from, math.min(from + SLICE - 1, #fields)))
    for number, value in ipairs(some) do found[from + number - 1] = value end
  end
  return found
end

local function behind(prefix)
  return '(' .. prefix .. '\255'
end

-- The lines of a sorted set that begin with `prefix`: one jump for each, however long they are.
local function lines_of(key, prefix)
  local found, from = {}, '[' .. prefix
  while true do
    local member = redis.call('ZRANGEBYLEX', key, from, behind(prefix), 'LIMIT', 0, 1)[1]
    if not member then return found end
    local line = string.match(member, '^(.*%z)')
    found[#found + 1] = line
    from = behind(line)
  end
end

-- Up to `limit` members of several lines in the order of what follows the line. `fetch(line, last, number)` returns
-- the next members of one line, `is_before(one, other)` compares what follows.
local function merged(lines, limit, fetch, is_before)
  local chunk = math.ceil(limit / math.max(1, #lines))
  local heads, found = {}, {}
  for _, line in ipairs(lines) do
    local members = fetch(line, nil, chunk)
    if members[1] then
      heads[#heads + 1] = {line = line, members = members, at = 1, rest = string.sub(members[1], #line + 1)}
    end
  end
  while #heads > 0 and #found < limit do
    local best = 1
    for number = 2, #heads do
      if is_before(heads[number].rest, heads[best].rest) then best = number end
    end
    local head = heads[best]
    local member = head.members[head.at]
    found[#found + 1] = {line = head.line, rest = head.rest, member = member}
    head.at = head.at + 1
    if head.at > #head.members and #head.members == chunk then
      head.members, head.at = fetch(head.line, member, chunk), 1
    end
    if head.members[head.at] then
      head.rest = string.sub(head.members[head.at], #head.line + 1)
    else
      table.remove(heads, best)
    end
  end
  return found
end

local IS_END = {succeeded = 1, failed = 1, cancelled = 1, discarded = 1, expired = 1, quarantined = 1}

-- Put a job where its state belongs, and take it away from there; its record is another matter.
local function enter(id, line, state, place)
  redis.call('ZADD', BY_ID, 0, state .. '\0' .. line .. id)
  if state == 'ready' then
    redis.call('ZADD', place < FIRST_ALONE and READY or ALONE, 0, line .. place .. id)
  elseif state == 'deferred' then
    redis.call('ZADD', DEFERRED, place, line .. id)
  elseif IS_END[state] then
    redis.call('ZADD', ENDED, 0, state .. '\0' .. line .. place .. id)
  end
end

local function leave(id, line, state, place)
  redis.call('ZREM', BY_ID, state .. '\0' .. line .. id)
  if state == 'ready' then
    redis.call('ZREM', place < FIRST_ALONE and READY or ALONE, line .. place .. id)
  elseif state == 'deferred' then
    redis.call('ZREM', DEFERRED, line .. id)
  elseif state == 'running' then
    redis.call('HDEL', CLAIMS, id)
  elseif IS_END[state] then
    redis.call('ZREM', ENDED, state .. '\0' .. line .. place .. id)
  end
end

-- Delete a job; returns 0 if it is not there.
local function forget(id, line, state, place)
  leave(id, line, state, place)
  redis.call('HDEL', WAITERS, id)
  return redis.call('HDEL', JOBS, id)
end
