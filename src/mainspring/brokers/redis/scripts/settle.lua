-- Store what became of claimed jobs. ARGV: the channel to call on or '', that of ends without the id, then for each
-- job its id, token, record, line, state and place, how it stands in line when it is unparked or '', what it leaves of
-- limits or '', how the limit stood under which it is parked, a JSON list of how much was held and what was kept, or '',
-- "-" and its new turn if it loses that which it has in its order or '', and the key of which it is unique
-- or ''. Behind a key stand what of it the job shall hold, the whole unique key, and, of one that gave its key back, the
-- record and the place with which it ends if another has the key by now. Returns the ids of those that do not run under
-- their token, of those that waited for one that has ended, and how many may ask again whether they may run.
-- The first write removes something, so that it goes on when the memory is full.
local channel, ends = ARGV[1], ARGV[2]
local somebody_waits = redis.call('EXISTS', WAITERS) == 1
local ready = 0
local refused, waited = {}, {}

local function has_changed(name, believed)
  if believed == '' then return false end
  local held, kept = unpack(cjson.decode(believed))
  return tonumber(redis.call('HGET', HELD, name) or 0) < held or redis.call('HGET', LIMITS, name) ~= kept
end

local at = 3
while at <= #ARGV do
  local id, token, record, line, state, place, unparked_as, left, believed, turn, key = unpack(ARGV, at, at + 10)
  local wanted, unique_key, last_record, last_place = '', '', '', ''
  at = at + 11
  if key ~= '' then
    wanted, unique_key, last_record, last_place = unpack(ARGV, at, at + 3)
    at = at + 4
  end
  local claim = redis.call('HGET', CLAIMS, id)
  if claim and string.match(claim, '^%d+') == token then
    if last_record ~= '' and (holder_of(key) ~= '' or holder_of('+' .. key) ~= '') then
      record, state, place, wanted = last_record, 'discarded', last_place, ''
    end
    leave(id, string.match(claim, '%z(.*)$') or line, 'running', '')
    redis.call('HSET', JOBS, id, record)
    enter(id, line, state, place)
    if state == 'parked' then redis.call('HSET', UNPARKED, id, unparked_as) end
    if left ~= '' then ready = ready + give_back(id, left) end
    if IS_END[state] then
      ready = ready + lose_turn(id)
    elseif turn ~= '' then
      ready = ready + lose_turn(id, string.sub(turn, 2))
    elseif state == 'parked' then
      -- Its turn may have come, or room for it, between the look of its caller and this: nobody else would call it.
      if any_orders then ready = ready + let_next(order_of(id) or '') end
      local _, member = parts_of(place)
      if has_changed(string.match(member, '^[^%z]*'), believed) and redis.call('ZSCORE', PARKED, member .. id) then
        ready = ready + unpark(member .. id, id)
      end
    end
    if somebody_waits and IS_END[state] and redis.call('HDEL', WAITERS, id) == 1 then tell(ends .. id) end
    if key ~= '' then
      hold(id, key, wanted)
      if IS_END[state] then
        note_end(id, unique_key)
        local behind = holder_of('+' .. key)
        if behind ~= '' then waited[#waited + 1] = behind end
      end
    end
  else
    refused[#refused + 1] = id
  end
end
tell(channel)
return {refused, waited, ready}
