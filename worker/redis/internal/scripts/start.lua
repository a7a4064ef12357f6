-- Says that a claimed message begins to run again, and finds out about earlier runs.
-- KEYS: unacked, result, crashes; unacked stands for none
-- ARGV: claim, result value ("" for none), result expires, "1" to look for
--       earlier runs, "1" to look for a SUCCESS, chord base ("" for none), score,
--       id, beginning of an entry of the chord, fingerprint of the task ("" for none)
-- Returns {earlier runs that did not end, "1" if the chord has counted the task,
-- SUCCESS or ""}; the first is -1000 when the claim is not ours any more.

-- recount counts a run, once for each claim. A key that holds something else counts none.
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

if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return {-1000, '', ''}
end
local crashed, counted, success = 0, '', ''
if ARGV[4] == '1' then
  if ARGV[6] ~= '' then
    local base = ARGV[6]
    if over(base, true)
      or redis.pcall('SISMEMBER', base .. '.d', ARGV[8] .. ':' .. ARGV[7]) == 1 then
      counted = '1'
    else
      -- Of another type it has nothing to say: ipairs finds nothing in an error.
      for _, entry in ipairs(redis.pcall('ZRANGEBYSCORE', base .. '.j', ARGV[7], ARGV[7])) do
        if string.sub(entry, 1, #ARGV[9]) == ARGV[9] then
          counted = '1'
        end
      end
    end
  end
  if ARGV[5] == '1' and succeeded(KEYS[2]) then
    success = redis.call('GET', KEYS[2])
    -- Producers choose ids: it may be of another message. It stands last but for the id,
    -- behind all that a task has returned.
    local whose, id = string.match(success, '.*"_fingerprint": "(%x+)", "task_id": (".*")}$')
    if whose and whose ~= ARGV[10] and ARGV[10] ~= '' and string.find(string.gsub(id, '\\.', ''), '^"[^"]*"$') then
      success = ''
    end
  end
end
local runs = counted == '' and success == ''
if ARGV[2] ~= '' and runs then
  store(KEYS[2], ARGV[2], ARGV[3])
end
if ARGV[4] == '1' and runs and KEYS[3] ~= KEYS[1] then
  crashed = recount(KEYS[3], ARGV[1])
end
return {crashed, counted, success}
