-- Delete ended jobs, those that ended first before the others. ARGV: the limit, the place of the moment before which
-- they ended, whether to count only, then the states. Returns their number.
local limit, before, dry_run = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1'

local lines = {}
for at = 4, #ARGV do
  for _, line in ipairs(lines_of(ENDED, ARGV[at] .. '\0')) do lines[#lines + 1] = line end
end
local function fetch(line, last, number)
  local from = last and '(' .. last or '[' .. line
  return redis.call('ZRANGEBYLEX', ENDED, from, '(' .. line .. before, 'LIMIT', 0, number)
end
local found = merged(lines, limit, fetch, false)
if not dry_run then
  for _, head in ipairs(found) do
    local state, line = string.match(head.line, '^([^%z]*)%z(.*)$')
    forget(string.sub(head.rest, 17), line, state, string.sub(head.rest, 1, 16))
  end
end
return #found
