-- Ends a delivery: result, publication, dead letter and acknowledgement.
-- KEYS: unacked, unacked_index, result, list of the publication, list to requeue
--       to, dead raws, dead metas, dead index, crashes; unacked stands for none
-- ARGV: claim ("" when acknowledged before), result value, result expires,
--       "1" for a SUCCESS, publication, message to requeue, dead raw, dead
--       meta, dead id, dead max, dead age. "" leaves a part out.
-- Returns 0 when the claim is not ours any more, else 1.
local held = ARGV[1] == '' or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1
if ARGV[2] ~= '' and (held or ARGV[4] == '1') then
  store(KEYS[3], ARGV[2], ARGV[3])
end
if not held then
  return 0
end
local grave = {KEYS[6], KEYS[7], KEYS[8], tonumber(ARGV[10]), tonumber(ARGV[11])}
if ARGV[5] ~= '' then
  push(KEYS[4], ARGV[5], grave, ARGV[1] .. '.next')
end
if ARGV[6] ~= '' then
  push(KEYS[5], ARGV[6], grave, ARGV[1] .. '.back')
end
if ARGV[7] ~= '' then
  bury(KEYS[6], KEYS[7], KEYS[8], ARGV[9], ARGV[7], ARGV[8], tonumber(ARGV[10]), tonumber(ARGV[11]))
end
if ARGV[1] ~= '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[1], ARGV[1])
end
if KEYS[9] ~= KEYS[1] then
  redis.call('DEL', KEYS[9])
  if ARGV[6] ~= '' then
    uncount(KEYS[9], ARGV[1], true)
  end
end
return 1
