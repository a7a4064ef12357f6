-- Takes a message back out of the dead letters into the unacknowledged: one
-- that the JSON parser of Redis refused, and a complete one accepts.
-- KEYS: unacked, unacked_index, dead raws, dead metas, dead index
-- ARGV: claim, queue, reason: "" rescues, other text corrects the reason
local raw = redis.call('HGET', KEYS[3], ARGV[1])
if not raw then
  return 0
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[1], cjson.encode({queue = ARGV[2], reason = ARGV[3], at = now()}))
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], '[' .. raw .. ', "", ' .. cjson.encode(ARGV[2]) .. ']')
redis.call('ZADD', KEYS[2], now(), ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
return 1
