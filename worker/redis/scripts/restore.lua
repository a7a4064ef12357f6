-- Puts messages of a worker that is gone back to the front of their lists, or into
-- the dead letters, those whose claims are still what was seen of them.
-- KEYS: unacked, unacked_index, owners, dead raws, dead metas, dead index
-- ARGV: owner ("" when it is the visibility timeout that has passed), seconds after
--       which an owner is dead, dead max, dead age, then for each message: claim,
--       score that was seen ("" with an owner), message ("" for the dead letters),
--       dead raw, dead meta, claim on the chord that it is a member of ("" for
--       none), number of lists, lists
-- Returns the numbers of those that went back and of those that are dead letters.
if ARGV[1] ~= '' and beats(KEYS[3], ARGV[1], ARGV[2]) then
  return {0, 0}
end
local back, dead = 0, 0
local i = 5
while ARGV[i] do
  local claim, score, raw, chord, lists = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 5], tonumber(ARGV[i + 6])
  if score == '' or redis.call('ZSCORE', KEYS[2], claim) == score then
    if redis.call('HEXISTS', KEYS[1], claim) == 1 then
      local pushed = 0
      for j = 1, raw == '' and 0 or lists do
        if type(redis.pcall('RPUSH', ARGV[i + 6 + j], raw)) ~= 'table' then
          pushed = pushed + 1
        end
      end
      -- It may have died with its chord complete and the body not yet published. A
      -- Python worker that runs the member again leaves that to whoever has the
      -- claim on the chord.
      if chord ~= '' and redis.pcall('GET', chord) == claim then
        redis.call('DEL', chord)
      end
      if pushed == 0 then
        bury(KEYS[4], KEYS[5], KEYS[6], claim, ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[3]), tonumber(ARGV[4]))
        dead = dead + 1
      else
        back = back + 1
      end
    end
    redis.call('ZREM', KEYS[2], claim)
    redis.call('HDEL', KEYS[1], claim)
  end
  i = i + 7 + lists
end
return {back, dead}
