-- Sets the mark of a task while its claim is held, and appends entries. Without a value it only
-- looks.
-- KEYS: unacked, mark
-- ARGV: claim ("" for a message that was acknowledged before), run, value, "1" to leave the mark
--       of another run as it is, then operations of record.lua
-- A mark is a text: the lengths of run and value, then the run that set it, its value, and the
-- value that an earlier run had left. A run that asks again gets that one again.
-- Returns {0, ""} when the claim is lost, else 1 and the mark of an earlier run.
local claim, run, value, alone = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
if claim ~= '' and redis.call('HEXISTS', KEYS[1], claim) == 0 then
  return {0, ''}
end
-- A key of another type is an error: nothing tells what an earlier run has done.
local before, earlier = redis.call('GET', KEYS[2]), ''
if before then
  local m, n, rest = string.match(before, '^(%d+) (%d+) (.*)$')
  if not m then
    earlier = before -- written by another program
  else
    m, n = tonumber(m), tonumber(n)
    earlier = string.sub(rest, m + 1, m + n)
    if string.sub(rest, 1, m) == run then
      if earlier == value then
        return {1, string.sub(rest, m + n + 1)}
      end
      earlier, alone = string.sub(rest, m + n + 1), false
    end
  end
end
if value == '' or before and alone then
  return {1, earlier}
end
redis.call('SET', KEYS[2], #run .. ' ' .. #value .. ' ' .. run .. value .. earlier, 'EX', mark_life)
if ARGV[5] then
  local ok, err = pcall(record, {{5, #ARGV - 4, true}})
  if not ok then
    if before then
      redis.pcall('SET', KEYS[2], before, 'EX', mark_life)
    else
      redis.pcall('DEL', KEYS[2])
    end
    raise(err)
  end
end
return {1, earlier}
