-- What every script begins with. Members of the sorted sets are "<...>\0<place><id>", nearly all with the score 0, so
-- that Redis keeps them in the order of their bytes. What stands up to the last NUL is called a line.

-- Redis before 7 would replay whole scripts on replicas, and refuse to write after it has read a set.
if redis.replicate_commands then redis.replicate_commands() end

local JOBS, CLAIMS, READY, ALONE, DEFERRED, ENDED, BY_ID, WAITERS, WORKERS, QUESTIONS, ANSWERS, SITE, GUARD, UNIQUE,
  LIMITS, HELD, HOLDS, PARKED, UNPARKED, ORDERS, TURNS, LEASES, FENCES = unpack(KEYS)
local FIRST_ALONE = '2000000000000000'  -- the place of jobs that crashed before, from here on
local FAIR = 'fair:'  -- how names begin under which jobs wait for a rank
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

-- The lines of a sorted set that begin with `prefix`: one jump for each, however long they are. A line has two NULs,
-- three where the state stands before it; a member without them is somebody's mistake, and passed over.
local TWO, THREE = '^([^%z]*%z[^%z]*%z)', '^([^%z]*%z[^%z]*%z[^%z]*%z)'

local function lines_of(key, prefix)
  local found, from = {}, '[' .. prefix
  local shape = (key == BY_ID or key == ENDED) and THREE or TWO
  while true do
    local member = redis.call('ZRANGEBYLEX', key, from, behind(prefix), 'LIMIT', 0, 1)[1]
    if not member then return found end
    local line = string.match(member, shape)
    found[#found + 1] = line
    from = line and behind(line) or '(' .. member
  end
end

-- Lua compares texts by the server's locale, where 'aa' may come behind 'f'. Digits are in the same order everywhere.
local DIGITS = setmetatable({}, {__index = function(known, character)
  known[character] = string.format('%03d', string.byte(character))
  return known[character]
end})

local function sortable(text)
  return (string.gsub(string.sub(text, 1, 36), '.', DIGITS))
end

-- Up to `limit` members of several lines in the order of what follows the line, or the reverse. `fetch(line, last,
-- number)` returns the next members of one line, in that order.
local function merged(lines, limit, fetch, is_reverse)
  local chunk = math.ceil(limit / math.max(1, #lines))
  local heads, found = {}, {}

  local function advance(head)
    head.at = head.at + 1
    if head.at > #head.members and #head.members == chunk then
      head.members, head.at = fetch(head.line, head.members[#head.members], chunk), 1
    end
    head.member = head.members[head.at]
    if not head.member then return false end
    head.rest = string.sub(head.member, #head.line + 1)
    head.key = #lines > 1 and sortable(head.rest) or ''
    return true
  end

  for _, line in ipairs(lines) do
    local head = {line = line, members = fetch(line, nil, chunk), at = 0}
    if advance(head) then heads[#heads + 1] = head end
  end
  while #heads > 0 and #found < limit do
    local best = 1
    for number = 2, #heads do
      local is_less = heads[number].key < heads[best].key
      if heads[number].key ~= heads[best].key and is_less ~= is_reverse then best = number end
    end
    local head = heads[best]
    found[#found + 1] = {line = head.line, rest = head.rest, member = head.member}
    if not advance(head) then table.remove(heads, best) end
  end
  return found
end

-- Tell whoever listens. A user who may not publish loses time, since workers look every few seconds, and no write.
local function tell(channel)
  if channel ~= '' then redis.pcall('PUBLISH', channel, '') end
end

local IS_END = {succeeded = 1, failed = 1, cancelled = 1, discarded = 1, expired = 1, quarantined = 1}

-- The place of a parked job is the moment for which it waits or '', and behind a NUL what stands in the set of them.
local function parts_of(place)
  return string.match(place, '^([^%z]*)%z(.*)$')
end

-- Jobs with an order key. ORDERS tells of each its key and, behind a NUL, its place among the TURNS of that: "s" and a
-- number once somebody has looked, until then "u" and the moment since which it is in line, or nothing.
local any_orders = redis.call('EXISTS', ORDERS) == 1

local function order_of(id)
  return string.match(redis.call('HGET', ORDERS, id) or '', '^(.*)%z([^%z]*)$')
end

local function set_turn(id, key, before, after)
  if before ~= '' then redis.call('ZREM', TURNS, key .. '\0' .. before .. id) end
  if after ~= '' then redis.call('ZADD', TURNS, 0, key .. '\0' .. after .. id) end
  redis.call('HSET', ORDERS, id, key .. '\0' .. after)
end

-- Take note of a new job with an order, or of none.
local function begin_order(id, order)
  if order == '' then return end
  local key, turn = string.match(order, '^(.*)%z([^%z]*)$')
  set_turn(id, key, '', turn)
  any_orders = true
end

-- The id of the job whose turn it is, or ''.
local function head_of(key)
  local prefix = key .. '\0'
  local member = redis.call('ZRANGEBYLEX', TURNS, '[' .. prefix, behind(prefix), 'LIMIT', 0, 1)[1] or ''
  return string.match(string.sub(member, #prefix + 1), '^s' .. string.rep('%x', 16) .. '(.*)$') or ''
end

-- Give their turns to all that are in line for it.
local function give_turns(key)
  local prefix = key .. '\0'
  local last = redis.call('ZREVRANGEBYLEX', TURNS, behind(prefix .. 's'), '[' .. prefix .. 's', 'LIMIT', 0, 1)[1] or ''
  local number = tonumber(string.sub(last, #prefix + 2, #prefix + 17), 16) or 0
  for _, member in ipairs(redis.call('ZRANGEBYLEX', TURNS, '[' .. prefix .. 'u', behind(prefix .. 'u'))) do
    number = number + 1
    local turn, id = string.sub(member, #prefix + 1, #prefix + 14), string.sub(member, #prefix + 15)
    set_turn(id, key, turn, string.format('s%016x', number))
  end
end

-- Put a job where its state belongs, and take it away from there; its record is another matter.
local function enter(id, line, state, place)
  redis.call('ZADD', BY_ID, 0, state .. '\0' .. line .. id)
  if state == 'ready' then
    redis.call('ZADD', place < FIRST_ALONE and READY or ALONE, 0, line .. place .. id)
    local key, turn = nil, ''
    if any_orders then key, turn = order_of(id) end
    if key and string.sub(turn, 1, 1) ~= 's' then set_turn(id, key, turn, 'u' .. string.sub(place, 4)) end
  elseif state == 'deferred' or state == 'waiting' then
    redis.call('ZADD', DEFERRED, place, line .. id)
  elseif state == 'parked' then
    local due_at, member = parts_of(place)
    redis.call('ZADD', PARKED, 0, member .. id)
    if due_at ~= '' then redis.call('ZADD', DEFERRED, due_at, line .. id) end
  elseif IS_END[state] then
    redis.call('ZADD', ENDED, 0, state .. '\0' .. line .. place .. id)
  end
end

local function leave(id, line, state, place)
  redis.call('ZREM', BY_ID, state .. '\0' .. line .. id)
  if state == 'ready' then
    redis.call('ZREM', place < FIRST_ALONE and READY or ALONE, line .. place .. id)
  elseif state == 'deferred' or state == 'waiting' then
    redis.call('ZREM', DEFERRED, line .. id)
  elseif state == 'running' then
    redis.call('HDEL', CLAIMS, id)
  elseif state == 'parked' then
    local due_at, member = parts_of(place)
    redis.call('ZREM', PARKED, member .. id)
    redis.call('ZREM', DEFERRED, line .. id)
    redis.call('HDEL', UNPARKED, id)
  elseif IS_END[state] then
    redis.call('ZREM', ENDED, state .. '\0' .. line .. place .. id)
  end
end

-- When the next job falls due, or false; those that wait for a rank always are.
local function next_due()
  if #redis.call('ZRANGEBYLEX', PARKED, '[' .. FAIR, behind(FAIR), 'LIMIT', 0, 1) > 0 then return '0' end
  return redis.call('ZRANGE', DEFERRED, 0, 0, 'WITHSCORES')[2] or false
end

-- How a parked job stands in line once it is there again, as was noted when it was parked: its line, its rank, how much of
-- the limit it wants, and its record.
local function unparked(id)
  return string.match(redis.call('HGET', UNPARKED, id) or '', '^([^%z]*%z[^%z]*%z)(%x+)%z(%d+)%z(.*)$')
end

-- Put a job back in line that is parked there by this member of the set; returns 1, or 0 if it is somebody's mistake.
local function unpark(member, id)
  local line, rank, _, record = unparked(id)
  if not line then
    redis.call('ZREM', PARKED, member)
    return 0
  end
  leave(id, line, 'parked', '\0' .. string.sub(member, 1, #member - #id))
  redis.call('HSET', JOBS, id, record)
  enter(id, line, 'ready', rank)
  return 1
end

-- The first members, and the ids in them, of those that are parked under a name: 'r' for room, 't' for a time.
local function parked_under(name, kind, number)
  local prefix, ids = name .. '\0' .. kind, {}
  local members = redis.call('ZRANGEBYLEX', PARKED, '[' .. prefix, behind(prefix), 'LIMIT', 0, number)
  for at, member in ipairs(members) do ids[at] = string.sub(member, #prefix + 17) end
  return members, ids
end

-- Put those back in line that wait for room under a limit, as far as there is some; returns how many.
local function unpark_for_room(name)
  local kept, held, count = redis.call('HGET', LIMITS, name), tonumber(redis.call('HGET', HELD, name) or 0), 0
  local concurrency = kept and cjson.decode(kept)[1]
  local room = type(concurrency) == 'number' and concurrency - held or math.huge
  local members, ids = parked_under(name, 'r', 1000)
  for at, member in ipairs(members) do
    local _, _, cost = unparked(ids[at])
    room = room - (cost or 0)
    -- What wants more than there ever is may have all of it.
    if room < 0 and (count > 0 or held > 0 or concurrency == 0) then break end
    count = count + unpark(member, ids[at])
  end
  return count
end

-- Let the job ask whose turn it is, if it waits for that; returns how many.
local function let_next(key)
  local id = head_of(key)
  local _, rank = unparked(id)
  local member = rank and key .. '\0r' .. rank .. id
  return member and redis.call('ZSCORE', PARKED, member) and unpark(member, id) or 0
end

-- Take its turn from a job, which keeps its key with `after`, or nothing of it where that is nil; let the next one ask.
local function lose_turn(id, after)
  local key, turn = nil, ''
  if any_orders then key, turn = order_of(id) end
  if not key then return 0 end
  set_turn(id, key, turn, after or '')
  if not after then redis.call('HDEL', ORDERS, id) end
  return let_next(key)
end

-- Give back what a job held of limits that runs no more, and let others ask for what it leaves, a JSON list of limits or
-- ''; returns how many may.
local function give_back(id, left)
  local costs, count = redis.call('HGET', HOLDS, id), 0
  if costs then
    redis.call('HDEL', HOLDS, id)
    for _, pair in ipairs(cjson.decode(costs)) do redis.call('HINCRBY', HELD, pair[1], -pair[2]) end
  end
  for _, name in ipairs(left ~= '' and cjson.decode(left) or {}) do count = count + unpark_for_room(name) end
  return count
end

-- The id of the live job that holds a unique key, or ''. A worker of an older version may have left a key behind.
local function holder_of(key)
  local id = key ~= '' and redis.call('HGET', UNIQUE, key)
  if not id then return '' end
  if redis.call('HEXISTS', CLAIMS, id) == 1 then return id end
  local record = redis.call('HGET', JOBS, id)
  local state = record and string.match(record, '^%[%d+,"(%a+)"')
  return state and not IS_END[state] and id or ''
end

-- May a job hold a key, or '' for none?
local function may_hold(id, wanted)
  local holder = wanted ~= '' and holder_of(wanted) or ''
  return holder == '' or holder == id
end

-- Note that a job holds `wanted` and no more `former`, either of which may be ''.
local function hold(id, former, wanted)
  if former ~= '' and former ~= wanted and redis.call('HGET', UNIQUE, former) == id then
    redis.call('HDEL', UNIQUE, former)
  end
  if wanted ~= '' then redis.call('HSET', UNIQUE, wanted, id) end
end

-- The last two fields of a record are the unique key and what the job holds of it; most have neither. Where a key has a
-- window, which stands behind a slash, the last job that has ended with it is noted as long as it is kept.
local function unique_key_of(record)
  local tail = record and string.sub(record, -160) or ''
  return string.match(tail, '"([^"]*)",null%]$') or string.match(tail, '"([^"]*)","[^"]*"%]$') or ''
end

local function note_end(id, unique_key)
  if string.find(unique_key, '/', 1, true) then redis.call('HSET', UNIQUE, '=' .. unique_key, id) end
end

-- Delete a job; returns 0 if it is not there.
local function forget(id, line, state, place)
  leave(id, line, state, place)
  if redis.call('EXISTS', UNIQUE) == 1 then
    local noted = '=' .. unique_key_of(redis.call('HGET', JOBS, id))
    if redis.call('HGET', UNIQUE, noted) == id then redis.call('HDEL', UNIQUE, noted) end
  end
  redis.call('HDEL', WAITERS, id)
  return redis.call('HDEL', JOBS, id)
end

-- The server's own time in microseconds since the epoch; to be written with `whole`, as Lua would round it.
local function moment()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end

-- For each lease under a name its token and the moment at which it is over.
local function leases_of(name)
  return string.gmatch(redis.call('HGET', LEASES, name) or '', '(%d+):(%d+)')
end

local function leases_after(name, now)
  local found = {}
  for token, ends in leases_of(name) do
    if tonumber(ends) > now then found[#found + 1] = token .. ':' .. ends end
  end
  return found
end
