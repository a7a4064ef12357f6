-- Removes dead letters that are too many or too old, and counts what is left.
-- KEYS: open raws, metas, index, closed raws, metas, index, dropped, expiries
-- ARGV: open max, closed max, age
-- Returns the numbers of open and of closed letters, those of dropped and of aged ones since the
-- first, the time of the last loss ("" for never), 1 when there are more letters to remove, and the
-- time at which the next letter expires ("" for none).
local open_max, closed_max, age = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local function losses()
  local lost = redis.pcall('HMGET', KEYS[7], 'capped', 'aged', 'at')
  if failed(lost) then
    if not unusable(lost) then
      raise(lost)
    end
    return {}
  end
  return lost
end

losses() -- what can fail comes first
local next = redis.call('ZRANGE', KEYS[8], 0, 0, 'WITHSCORES')
local before = redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[6])
if before > 0 then
  prune_all(KEYS[1], KEYS[2], KEYS[3], open_max, age, true)
  prune_all(KEYS[4], KEYS[5], KEYS[6], closed_max, age)
end
local open, closed = redis.call('ZCARD', KEYS[3]), redis.call('ZCARD', KEYS[6])
local more = before - open - closed >= most_pruned and 1 or 0
local lost = losses()
return {open, closed, lost[1] or 0, lost[2] or 0, lost[3] or '', more, next[2] or ''}
