-- The places at which lines begin. ARGV: for each a queue, and the place from which on and that up to which to look.
-- Returns for each the first place of a job that is ready, or ''.
local found = {}
for at = 1, #ARGV, 3 do
  local queue, from, before = unpack(ARGV, at, at + 2)
  local first = ''
  for _, line in ipairs(lines_of(READY, queue .. '\0')) do
    local member = redis.call('ZRANGEBYLEX', READY, '[' .. line .. from, '(' .. line .. before, 'LIMIT', 0, 1)[1]
    local place = member and string.sub(member, #line + 1, #line + 16)
    if place and (first == '' or place < first) then first = place end
  end
  found[#found + 1] = first
end
return found
