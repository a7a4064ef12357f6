-- Reads dead letters, each as it is at that moment.
-- KEYS: open raws, metas, closed raws, metas
-- ARGV: number of bytes after which the script stops, then ids
-- Returns {0 for an open and 1 for a closed letter, entry, raw} for the first ids, false for an id
-- without a letter. There is at least one.
local replies, left = {}, tonumber(ARGV[1])
for i = 2, #ARGV do
  local raw, where = redis.call('HGET', KEYS[1], ARGV[i]), 0
  if not raw then
    raw, where = redis.call('HGET', KEYS[3], ARGV[i]), 1
  end
  if raw then
    local entry = redis.call('HGET', KEYS[2 + 2 * where], ARGV[i]) or ''
    replies[i - 1] = {where, entry, raw}
    left = left - #raw - #entry
  else
    replies[i - 1] = {-1, '', ''}
  end
  if left <= 0 then
    break
  end
end
return replies
