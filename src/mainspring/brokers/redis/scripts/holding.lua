-- The ids of the jobs that hold something of the limit in ARGV.
local found = {}
local all = redis.call('HGETALL', HOLDS)
for at = 1, #all, 2 do
  for _, pair in ipairs(cjson.decode(all[at + 1])) do
    if pair[1] == ARGV[1] then found[#found + 1] = all[at] end
  end
end
return found
