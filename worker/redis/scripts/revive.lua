-- Puts a dead letter back into its queue, once however many ask.
-- KEYS: dead raws, dead metas, dead index, list, crashes
-- ARGV: id, message
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[5])
redis.call('LPUSH', KEYS[4], ARGV[2])
return 1
