-- Store what an enqueue with unique keys leads to, if all is as its caller believes.
-- ARGV: the channel to call on or '', the number of keys, and for each key who holds it ('' for nobody) and whether that
-- runs, where "=" and a unique key stand for the last job that has ended with it; then for each write the id, the line,
-- the record to be replaced ('' for a new job) with its line, state, place and key, and the new record, state, place,
-- key and, of a new job, order or ''.
-- Returns 1 and '' if it is done, 2 and an id that is taken, or 0 and '' and, for each key, who holds it with its record
-- and claim.
local channel, keys = ARGV[1], tonumber(ARGV[2])
local first_write = 3 + 3 * keys
local is_as_believed = true

local function found_under(key)
  if string.sub(key, 1, 1) ~= '=' then return holder_of(key) end
  local id = redis.call('HGET', UNIQUE, key)
  return id and redis.call('HEXISTS', JOBS, id) == 1 and id or ''
end

for at = 3, first_write - 1, 3 do
  local key, holder, runs = unpack(ARGV, at, at + 2)
  local found = found_under(key)
  local found_runs = found ~= '' and redis.call('HEXISTS', CLAIMS, found) == 1 and '1' or ''
  if found ~= holder or found_runs ~= runs then is_as_believed = false end
end
for at = first_write, #ARGV, 12 do
  local id, old = ARGV[at], ARGV[at + 2]
  local record = redis.call('HGET', JOBS, id)
  if old == '' and record and is_as_believed then return {2, id} end
  if old ~= '' and record ~= old then is_as_believed = false end
end

if not is_as_believed then
  local found = {}
  for at = 3, first_write - 1, 3 do
    local id = found_under(ARGV[at])
    found[#found + 1] = id
    found[#found + 1] = redis.call('HGET', JOBS, id)
    found[#found + 1] = redis.call('HGET', CLAIMS, id)
  end
  return {0, '', found}
end

for at = first_write, #ARGV, 12 do
  local id, line, old, old_line, old_state, old_place, former, new, state, place, wanted, order = unpack(ARGV, at, at + 11)
  if old ~= '' then leave(id, old_line, old_state, old_place) else begin_order(id, order) end
  redis.call('HSET', JOBS, id, new)
  hold(id, former, wanted)
  enter(id, line, state, place)
end
tell(channel)
return {1, ''}
