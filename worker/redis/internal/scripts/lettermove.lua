-- Moves a dead letter between the open and the closed ones, or writes it anew where it is.
-- KEYS: raws, metas, index where it is, raws, metas, index where it goes, expiries
-- ARGV: token of the call, max and age of the letters where it goes, id, entry that was read, new
--       entry, "1" for a new raw, new raw, time at which it expires ("" for never), "1" when it is reopened
-- Returns {1} when it was moved, by this call or an earlier one of the same token; {0, entry} when
-- it is not where it was read, with its entry where it goes or ""; {2} when its entry has changed.
local from, to, expiries = {KEYS[1], KEYS[2], KEYS[3]}, {KEYS[4], KEYS[5], KEYS[6]}, KEYS[7]
local token, max, age, id, seen, entry, anew, raw, expires, reopened = unpack(ARGV, 1, 10)
local stays = from[1] == to[1]

local old = redis.call('HGET', from[1], id)
if not old then
  return elsewhere(to, id, token)
end
local old_entry = redis.call('HGET', from[2], id) or ''
if old_entry ~= seen then
  if stays and string.find(old_entry, token, 1, true) then
    return {1}
  end
  return {2}
end
if anew ~= '1' then
  raw = old
end
ready_letters(from, to, expiries)
local ok, err = pcall(function()
  if stays then
    redis.call('HSET', from[2], id, entry)
    did('HSET', from[2], id, old_entry)
    redis.call('HSET', from[1], id, raw)
    did('HSET', from[1], id, old)
  else
    enter(to, id, redis.call('ZSCORE', from[3], id) or 0, entry, raw)
  end
  if expires ~= '' then
    redis.call('ZADD', expiries, expires, id)
  end
end)
if not ok then
  undo(err)
end
if not stays then
  leave(from, id)
  pcall(keep_for, tonumber(age), to[1], to[2], to[3], expiries)
  pcall(prune_all, to[1], to[2], to[3], tonumber(max), tonumber(age), reopened == '1')
end
if expires == '' then
  redis.pcall('ZREM', expiries, id)
else
  pcall(keep_for, tonumber(age), expiries)
end
return {1}
