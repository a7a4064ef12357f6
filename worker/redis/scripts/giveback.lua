-- Gives messages back to the front of their lists, the newest first, so that
-- the oldest is consumed next.
-- KEYS: unacked, unacked_index, then list and crashes for each message
-- ARGV: claim and message for each
-- A clean return is no crash: the count is set so that the next run, which is
-- counted because the message says redelivered, makes it what it was.
local n = 0
for i = 1, #ARGV / 2 do
  local claim, raw = ARGV[2 * i - 1], ARGV[2 * i]
  if redis.call('HDEL', KEYS[1], claim) == 1 then
    redis.call('ZREM', KEYS[2], claim)
    redis.call('RPUSH', KEYS[2 * i + 1], raw)
    if KEYS[2 * i + 2] ~= '' then
      redis.call('SETEX', KEYS[2 * i + 2], 604800, '-1')
    end
    n = n + 1
  end
end
return n
