-- Ends a delivery: result, publication, dead letter and acknowledgement.
-- KEYS: unacked, unacked_index, result, list to requeue to, dead raws, dead metas, dead
--       index, crashes; unacked stands for none
-- ARGV: claim ("" when acknowledged before), result value, result expires,
--       "1" for a SUCCESS, list of the publication, publication, message to requeue,
--       dead raw, dead meta, dead id, dead max, dead age. "" leaves a part out.
-- Returns 0 when the claim is not ours any more, else 1.
-- The list of a publication is the choice of a producer: among KEYS a list that the user
-- may not write would end the script.
local unacked, index, claim = KEYS[1], KEYS[2], ARGV[1]
local held = claim == '' or redis.call('HEXISTS', unacked, claim) == 1
if held and claim ~= '' then
  ready(unacked, index, claim)
end
local grave = grave_of(KEYS[5], KEYS[6], KEYS[7], ARGV[11], ARGV[12])
local ok, err = pcall(function()
  if held and ARGV[8] ~= '' then
    bury(grave, ARGV[10], ARGV[8], ARGV[9])
  end
  if held and ARGV[6] ~= '' then
    push(ARGV[5], ARGV[6], grave, claim .. '.next')
  end
  if held and ARGV[7] ~= '' then
    push(KEYS[4], ARGV[7], grave, claim .. '.back')
  end
  -- Last, as what was announced cannot be taken back.
  if ARGV[2] ~= '' and (held or ARGV[4] == '1') then
    store(KEYS[3], ARGV[2], ARGV[3])
  end
end)
if not ok then
  undo(err)
end
if not held then
  return 0
end
if claim ~= '' then
  redis.call('ZREM', index, claim)
  redis.call('HDEL', unacked, claim)
end
if KEYS[8] ~= unacked then
  forget(KEYS[8], ARGV[7] ~= '' and claim)
end
prune(grave)
return 1
