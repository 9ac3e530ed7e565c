-- How many ready jobs of a queue stand before a place in the same line. ARGV: the queue, and the place.
local queue, place, count = ARGV[1], ARGV[2], 0
local source = place < FIRST_ALONE and READY or ALONE
for _, line in ipairs(lines_of(source, queue .. '\0')) do
  count = count + redis.call('ZLEXCOUNT', source, '[' .. line, '(' .. line .. place)
end
return count
