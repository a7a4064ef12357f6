-- Removes the oldest messages of a list.
-- KEYS: list
-- ARGV: number of messages
-- Returns how many it has removed.
local n = math.min(redis.call('LLEN', KEYS[1]), tonumber(ARGV[1]))
if n > 0 then
  redis.call('LTRIM', KEYS[1], 0, -1 - n)
end
return n
