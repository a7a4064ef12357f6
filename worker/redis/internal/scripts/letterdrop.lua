-- Deletes dead letters, open and closed ones.
-- KEYS: open raws, metas, index, closed raws, metas, index, expiries
-- ARGV: ids
-- Returns for each 1, or 0 when there was none.
ready_letters({KEYS[1], KEYS[2], KEYS[3]}, {KEYS[4], KEYS[5], KEYS[6]}, KEYS[7])
local replies = {}
for i, id in ipairs(ARGV) do
  local n = redis.call('HEXISTS', KEYS[1], id) + redis.call('HEXISTS', KEYS[4], id)
  leave({KEYS[1], KEYS[2], KEYS[3]}, id)
  leave({KEYS[4], KEYS[5], KEYS[6]}, id)
  redis.call('ZREM', KEYS[7], id)
  replies[i] = math.min(n, 1)
end
return replies
