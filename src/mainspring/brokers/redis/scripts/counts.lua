-- How many jobs are in each line. ARGV: the place of the moment since which ended jobs count, then the live states.
-- Returns pairs of a line with its state and a number, then pairs of a queue and since when its oldest ready job waits.
local since, numbers, waiting = ARGV[1], {}, {}

local function count(key, line, from)
  local number = redis.call('ZLEXCOUNT', key, '[' .. line .. from, behind(line))
  if number > 0 then
    numbers[#numbers + 1] = line
    numbers[#numbers + 1] = number
  end
end
for at = 2, #ARGV do
  for _, line in ipairs(lines_of(BY_ID, ARGV[at] .. '\0')) do count(BY_ID, line, '') end
end
for _, line in ipairs(lines_of(ENDED, '')) do count(ENDED, line, since) end

-- A place begins with three digits of priority; in each priority the first has waited longest.
for _, key in ipairs({READY, ALONE}) do
  for _, line in ipairs(lines_of(key, '')) do
    local from = '[' .. line
    while true do
      local member = redis.call('ZRANGEBYLEX', key, from, behind(line), 'LIMIT', 0, 1)[1]
      if not member then break end
      waiting[#waiting + 1] = string.match(line, '^([^%z]*)')
      waiting[#waiting + 1] = string.sub(member, #line + 4, #line + 16)
      from = behind(string.sub(member, 1, #line + 3))
    end
  end
end
return {numbers, waiting}
