-- Settles one delivery: result, publication, requeue or dead letter, and acknowledgement.
-- KEYS and ARGV: see below. unacked stands for no key, "" omits a part. claim is "" for a
-- delivery that was acknowledged before, success is "1" for a SUCCESS. Further arguments, if
-- any: a key if the run has succeeded, else "" (see record.lua), then operations of record.lua.
-- Returns 0 when the claim is lost, else 1.
-- publish_list is no key of the call, because a producer chooses it: a key that the user
-- must not write would end the script.

local unacked, index, result, requeue_list, dead, dead_meta, dead_index, crashes = unpack(KEYS, 1, 8)
local claim, value, expires, success, publish_list, publication, requeue, dead_raw, dead_entry, dead_id, dead_max,
  dead_age = unpack(ARGV, 1, 12)

local held = claim == '' or redis.call('HEXISTS', unacked, claim) == 1
if held and claim ~= '' then
  ready(unacked, index, claim)
end
local once = ARGV[13]
local records = once and (held or unrecorded(once, result, value))
local grave = grave_of(dead, dead_meta, dead_index, dead_max, dead_age)
local ok, err = pcall(function()
  if held and dead_raw ~= '' then
    bury(grave, dead_id, dead_raw, dead_entry)
  end
  if held and publication ~= '' then
    push(publish_list, publication, grave, claim .. '.next')
  end
  if held and requeue ~= '' then
    push(requeue_list, requeue, grave, claim .. '.back')
  end
  if records then
    record({{14, #ARGV - 13, held}}, did)
  end
  -- Last, because an announcement cannot be undone.
  local stored
  if value ~= '' and (held or success == '1') then
    stored = store(result, value, expires)
  end
  if records and once ~= '' and not stored then
    redis.pcall('SET', once, '1', 'EX', once_life)
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
if crashes ~= unacked then
  forget(crashes, requeue ~= '' and claim)
end
prune(grave)
return 1
