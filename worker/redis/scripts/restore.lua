-- Puts the message of a worker that is gone back to the front of its list, or
-- into the dead letters, if the claim is still what the scan saw.
-- KEYS: unacked, unacked_index, owners, dead raws, dead metas, dead index, lists...
-- ARGV: claim, score that the scan saw ("" in the other mode), owner ("" in the
--       other mode), seconds after which an owner is dead, message ("" for the
--       dead letters), dead raw, dead meta, dead max, dead age
if ARGV[2] ~= '' and redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
if ARGV[3] ~= '' then
  local seen = redis.call('ZSCORE', KEYS[3], ARGV[3])
  if seen and tonumber(seen) > now() - tonumber(ARGV[4]) then
    return 0
  end
end
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if ARGV[5] == '' then
  bury(KEYS[4], KEYS[5], KEYS[6], ARGV[1], ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]))
  return 2
end
for i = 7, #KEYS do
  redis.call('RPUSH', KEYS[i], ARGV[5])
end
return 1
