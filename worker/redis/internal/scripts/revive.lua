-- Puts a dead letter back into its queue. Concurrent calls put it back once. The stored result
-- of the failed run is deleted, because the task is pending again.
-- KEYS: dead raws, dead metas, dead index, list, then, for a letter that can be
--       read, crashes and result
-- ARGV: id, message
local raws, metas, index, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
if redis.call('HEXISTS', raws, id) == 0 then
  return 0
end
-- What can fail comes first, and changes nothing.
redis.call('HDEL', raws, id .. '?')
redis.call('HDEL', metas, id .. '?')
redis.call('ZREM', index, id .. '?')
redis.call('DEL', raws .. '?')
redis.call('LPUSH', KEYS[4], ARGV[2])
redis.call('HDEL', raws, id)
redis.call('HDEL', metas, id)
redis.call('ZREM', index, id)
for i = 5, #KEYS do
  redis.call('DEL', KEYS[i])
end
return 1
