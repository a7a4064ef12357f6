-- Records that a delivery begins to run, and looks for earlier runs of the message.
-- KEYS and ARGV: see below. value and base are "" for none. again is "1" for a message that
-- was delivered before, look_stored is "1" to look for a SUCCESS. base, score, id and
-- entry_start, the beginning of its entry, are those of a chord member. fingerprint is that
-- of the task, "" for none; crashes is unacked for none.
-- Returns {earlier runs that were not settled, "1" if the chord has counted the task,
-- SUCCESS or ""}. The first is -1000 when the claim is lost.

local unacked, result, crashes = unpack(KEYS, 1, 3)
local claim, value, expires, again, look_stored, base, score, id, entry_start, fingerprint = unpack(ARGV, 1, 10)

-- recount counts a run, once for each claim. A key of another type counts none.
local function recount(key, claim)
  local count = redis.pcall('HMGET', key, 'n', 'claim')
  if failed(count) then
    if unusable(count) then
      return 0
    end
    raise(count)
  end
  local n = tonumber(count[1] or '0') or 0
  if count[2] == claim then
    return n
  end
  redis.call('EXPIRE', key, count_life) -- of an earlier count; and it fails before the count does
  redis.call('HSET', key, 'n', n + 1, 'claim', claim)
  redis.call('EXPIRE', key, count_life)
  return n + 1
end

if redis.call('HEXISTS', unacked, claim) == 0 then
  return {-1000, '', ''}
end
local crashed, counted, success = 0, '', ''
if again == '1' then
  if base ~= '' then
    if over(base, true)
      or redis.pcall('SISMEMBER', base .. '.d', id .. ':' .. score) == 1 then
      counted = '1'
    else
      -- A key of another type has no entries: ipairs finds none in an error.
      for _, entry in ipairs(redis.pcall('ZRANGEBYSCORE', base .. '.j', score, score)) do
        if string.sub(entry, 1, #entry_start) == entry_start then
          counted = '1'
        end
      end
    end
  end
  if look_stored == '1' and succeeded(result) then
    success = redis.call('GET', result)
    -- Producers choose ids, so the result may be that of another message. The fingerprint
    -- is the last member but the id, behind everything that a task returns.
    local whose, task = string.match(success, '.*"_fingerprint": "(%x+)", "task_id": (".*")}$')
    if whose and whose ~= fingerprint and fingerprint ~= '' and string.find(string.gsub(task, '\\.', ''), '^"[^"]*"$') then
      success = ''
    end
  end
end
local runs = counted == '' and success == ''
if value ~= '' and runs then
  store(result, value, expires)
end
if again == '1' and runs and crashes ~= unacked then
  crashed = recount(crashes, claim)
end
return {crashed, counted, success}
