-- A page of jobs, newest first. ARGV: the limit, the id to begin behind or '', whether for one queue and which, whether
-- for one task and which, then the states. Returns lines (with the state before them), ids, records and claims.
local limit, before = tonumber(ARGV[1]), ARGV[2]
local queue, task = ARGV[3] == '1' and ARGV[4], ARGV[5] == '1' and ARGV[6]

local lines = {}
for at = 7, #ARGV do
  local prefix = ARGV[at] .. '\0'
  if queue then prefix = prefix .. queue .. '\0' end
  if queue and task then prefix = prefix .. task .. '\0' end
  for _, line in ipairs(lines_of(BY_ID, prefix)) do
    if not task or string.match(line, '%z([^%z]*)%z$') == task then lines[#lines + 1] = line end
  end
end

local function fetch(line, last, number)
  local from = behind(line)
  if last then from = '(' .. last elseif before ~= '' then from = '(' .. line .. before end
  return redis.call('ZREVRANGEBYLEX', BY_ID, from, '[' .. line, 'LIMIT', 0, number)
end
local found, ids = {}, {}
for number, head in ipairs(merged(lines, limit, fetch, true)) do
  found[number], ids[number] = head.line, head.rest
end
return {found, ids, values_of(JOBS, ids), values_of(CLAIMS, ids)}
