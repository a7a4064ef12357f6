-- Puts dead letters, or edited copies of them, back into their queues, and closes the letters in
-- the same step. Concurrent calls put a letter back once. A result that is stored for the task is
-- deleted, because the task is pending again.
-- KEYS: open raws, metas, index, closed raws, metas, index, expiries, then for each letter: list,
--       crashes, result
-- ARGV: token of the call, closed max, age, then for each letter: id, entry that was read, message,
--       entry of the closed letter, raw of the closed letter
-- Returns for each letter {1} when it was put back, by this call or an earlier one of the same
-- token; {0, entry} when it is not open, with the entry of the closed letter or ""; {2} when its
-- entry has changed; {3, error} when its queue refuses it.
local open, closed, expiries = {KEYS[1], KEYS[2], KEYS[3]}, {KEYS[4], KEYS[5], KEYS[6]}, KEYS[7]
local token, max, age = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function revive(id, seen, message, entry, raw, list, crashes, result)
  if redis.call('HEXISTS', open[1], id) == 0 then
    return elsewhere(closed, id, token)
  end
  if (redis.call('HGET', open[2], id) or '') ~= seen then
    return {2}
  end
  local ok, err = pcall(function()
    enter(closed, id, redis.call('ZSCORE', open[3], id) or 0, entry, raw)
    redis.call('LPUSH', list, message)
  end)
  if not ok then
    for i = #done, 1, -1 do
      redis.pcall(unpack(done[i]))
    end
    done = {}
    if #ARGV == 8 then -- the only letter
      raise(err)
    end
    return {3, type(err) == 'table' and err.err or err}
  end
  done = {}
  leave(open, id)
  redis.pcall('ZREM', expiries, id)
  redis.pcall('DEL', crashes)
  redis.pcall('DEL', result)
  return {1}
end

ready_letters(open, closed, expiries)
redis.call('DEL', open[1] .. '?')
local replies = {}
for n = 1, (#ARGV - 3) / 5 do
  local a, k = 5 * n - 1, 3 * n + 5
  replies[n] = revive(ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], KEYS[k], KEYS[k + 1], KEYS[k + 2])
end
pcall(keep_for, age, closed[1], closed[2], closed[3])
pcall(prune_all, closed[1], closed[2], closed[3], max, age)
return replies
