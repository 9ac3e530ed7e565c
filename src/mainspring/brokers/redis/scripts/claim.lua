-- Hand ready jobs to a worker. ARGV: the limit, the text of the claim, whether from the line of those that crashed
-- before, the number of prefixes of lines, the prefixes, and the tasks to pass over. Returns ids, records and lines.
-- The first write removes something, so that it goes on when the memory is full.
local limit, claim, source, prefixes = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1' and ALONE or READY, tonumber(ARGV[4])
local skipped, lines = {}, {}
for at = 5 + prefixes, #ARGV do skipped[ARGV[at]] = true end
for at = 5, 4 + prefixes do
  for _, line in ipairs(lines_of(source, ARGV[at])) do
    if not skipped[string.match(line, '%z(.*)%z$')] then lines[#lines + 1] = line end
  end
end

local function give_back_key(id, record)
  if string.sub(record, -2) ~= '"]' then return end  -- nothing is held
  local key = string.match(unique_key_of(record), '^start:(.*)$')
  if key and redis.call('HGET', UNIQUE, key) == id then redis.call('HDEL', UNIQUE, key) end
end

local function fetch(line, last, number)
  local from = last and '(' .. last or '[' .. line
  return redis.call('ZRANGEBYLEX', source, from, behind(line), 'LIMIT', 0, number)
end
local found = merged(lines, limit, fetch, false)
if #found == 0 then return {{}, {}, {}} end

redis.call('HDEL', CLAIMS, '')  -- should that key hold something else, it shows before anything is taken out of a line
local members, ids = {}, {}
for number, head in ipairs(found) do
  members[number], ids[number] = head.member, string.sub(head.rest, 17)
end
bulk('ZREM', source, members)
local records = values_of(JOBS, ids)
local taken, their_records, their_lines, claims, running = {}, {}, {}, {}, {}
for number, id in ipairs(ids) do
  local line = found[number].line
  -- Nobody could settle a job whose id is not printable ASCII; it leaves the line, and stays in the list by ids. What
  -- that list does not know as ready was left in the line by somebody's mistake.
  local can_settle = not string.find(id, '[^\33-\126]')
  local is_ready = can_settle and redis.call('ZREM', BY_ID, 'ready\0' .. line .. id) == 1
  if is_ready and records[number] then
    local count = #taken + 1
    taken[count], their_records[count], their_lines[count] = id, records[number], line
    claims[2 * count - 1], claims[2 * count] = id, claim .. '\0' .. line
    running[2 * count - 1], running[2 * count] = 0, 'running\0' .. line .. id
    give_back_key(id, records[number])
  end
end
bulk('HSET', CLAIMS, claims)
bulk('ZADD', BY_ID, running)
return {taken, their_records, their_lines}
