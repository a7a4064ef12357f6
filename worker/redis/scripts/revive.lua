-- Puts a dead letter back into its queue, once however many ask. What is stored
-- of its end is forgotten: it is on its way again.
-- KEYS: dead raws, dead metas, dead index, list, then, for a letter that can be
--       read, crashes and result
-- ARGV: id, message
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
redis.call('LPUSH', KEYS[4], ARGV[2])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
for i = 5, #KEYS do
  redis.call('DEL', KEYS[i])
end
return 1
