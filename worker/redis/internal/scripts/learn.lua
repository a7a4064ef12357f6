-- Enters a text into a dictionary, and removes the oldest ones beyond its bound.
-- KEYS: texts, order
-- ARGV: key, text ("" makes the entry the oldest one), bound
local key, text, bound = ARGV[1], ARGV[2], tonumber(ARGV[3])
if text == '' then
  redis.call('ZADD', KEYS[2], 'XX', 0, key)
  return 0
end
redis.call('ZADD', KEYS[2], redis.call('TIME')[1], key)
redis.call('HSET', KEYS[1], key, text)
local excess = math.min(redis.call('ZCARD', KEYS[2]) - bound, 1000)
if excess > 0 then
  local oldest = redis.call('ZRANGE', KEYS[2], 0, excess - 1)
  redis.call('HDEL', KEYS[1], unpack(oldest))
  redis.call('ZREM', KEYS[2], unpack(oldest))
end
return 1
