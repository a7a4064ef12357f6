-- Gives messages back to the front of their lists, the newest first, so that
-- the oldest is consumed next. One that has no way back goes to the dead letters.
-- KEYS: unacked, unacked_index, dead raws, dead metas, dead index, then list and
--       crashes (unacked for none) for each message
-- ARGV: dead max, dead age, then for each: claim, message, dead meta, "1" for the
--       first delivery
-- A clean return is no crash: see start.lua for the count.
local n = 0
for i = 1, (#ARGV - 2) / 4 do
  local claim, raw, meta, first = ARGV[4 * i - 1], ARGV[4 * i], ARGV[4 * i + 1], ARGV[4 * i + 2]
  local list, crashes = KEYS[4 + 2 * i], KEYS[5 + 2 * i]
  if redis.call('HEXISTS', KEYS[1], claim) == 1 then
    local pushed = redis.pcall('RPUSH', list, raw)
    if type(pushed) == 'table' then
      bury(KEYS[3], KEYS[4], KEYS[5], claim, raw, meta, tonumber(ARGV[1]), tonumber(ARGV[2]))
    end
    redis.call('ZREM', KEYS[2], claim)
    redis.call('HDEL', KEYS[1], claim)
    if crashes ~= KEYS[1] then
      uncount(crashes, claim, first == '1')
    end
    n = n + 1
  end
end
return n
