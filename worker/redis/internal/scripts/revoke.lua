-- Stores revocations, and announces the results of revoked tasks.
-- KEYS: revoked ids, revoked stamps
-- ARGV: life in seconds, most, result expires, number of ids, for each id: id,
--       key of its result, result in state REVOKED; then stamps in JSON
local t = now()
local life, most, expires, n = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
-- What can fail comes first: it drops what is too old, which is no loss.
local keys = {}
if n > 0 then
  keys[1] = KEYS[1]
end
if ARGV[5 + 3 * n] then
  keys[#keys + 1] = KEYS[2]
end
for _, key in ipairs(keys) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. (t - life))
  redis.call('ZREMRANGEBYRANK', key, 0, -most - 1)
  redis.call('EXPIRE', key, life)
end
local i = 5
for _ = 1, n do
  redis.call('ZADD', KEYS[1], t, ARGV[i])
  -- A task that has begun, or ended, keeps its state.
  local head = redis.pcall('GETRANGE', ARGV[i + 1], 0, 63)
  if failed(head) and not unusable(head) then
    raise(head)
  end
  local status = not failed(head) and string.match(head, '"status"%s*:%s*"([^"]+)"')
  if head == '' or status == 'RETRY' or status == 'RECEIVED' or status == 'REJECTED' then
    store(ARGV[i + 1], ARGV[i + 2], expires)
  end
  i = i + 3
end
while ARGV[i] do
  redis.call('ZADD', KEYS[2], t, ARGV[i])
  i = i + 1
end
for _, key in ipairs(keys) do
  redis.call('ZREMRANGEBYRANK', key, 0, -most - 1)
  redis.call('EXPIRE', key, life)
end
return redis.status_reply('OK')
