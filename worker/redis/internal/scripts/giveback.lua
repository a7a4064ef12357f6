-- Gives messages back to the front of their lists, the newest first, so that the oldest is
-- consumed next. A message whose list cannot be written goes to the dead letters.
-- KEYS: unacked, unacked_index, dead raws, dead metas, dead index, then list and
--       crashes (unacked for none) for each message
-- ARGV: dead max, dead age, then for each: claim, message, dead meta, "1" for the
--       first delivery; then for messages with entries: number of the message, number of
--       arguments, and these, as record.lua has them
-- A clean return is no crash: see start.lua for the count.
local n = 0
local unacked, index = KEYS[1], KEYS[2]
local grave = grave_of(KEYS[3], KEYS[4], KEYS[5], ARGV[1], ARGV[2])
ready(unacked, index, ARGV[3])
local messages, records = (#KEYS - 5) / 2, {}
local at = 4 * messages + 3
while ARGV[at] do
  records[tonumber(ARGV[at])] = {at + 2, tonumber(ARGV[at + 1]), true}
  at = at + 2 + tonumber(ARGV[at + 1])
end
for i = 1, messages do
  local claim, raw, meta, first = ARGV[4 * i - 1], ARGV[4 * i], ARGV[4 * i + 1], ARGV[4 * i + 2]
  local list, crashes = KEYS[4 + 2 * i], KEYS[5 + 2 * i]
  if redis.call('HEXISTS', unacked, claim) == 1 then
    local pushed = redis.pcall('RPUSH', list, raw)
    if failed(pushed) then
      if not barred(pushed) then
        raise(pushed)
      end
      bury(grave, claim, raw, meta)
    end
    redis.call('ZREM', index, claim)
    redis.call('HDEL', unacked, claim)
    if crashes ~= unacked then
      pcall(uncount, crashes, claim, first == '1')
    end
    if records[i] then
      pcall(record, {records[i]}) -- the message matters more than its history
    end
    n = n + 1
  end
end
prune(grave)
return n
