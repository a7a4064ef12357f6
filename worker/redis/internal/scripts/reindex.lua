-- Enters unacknowledged messages that are missing in the index, as after a person has moved a
-- key of another type away. Without an index entry they would never be delivered again.
-- KEYS: unacked, unacked_index
-- Returns how many.
if redis.call('HLEN', KEYS[1]) <= redis.call('ZCARD', KEYS[2]) then
  return 0
end
local due, added = lease(), 0
for _, claim in ipairs(redis.call('HKEYS', KEYS[1])) do
  added = added + redis.call('ZADD', KEYS[2], 'NX', due, claim)
end
return added
