-- Puts messages of a dead worker back to the front of their lists, or into the dead letters.
-- It skips messages whose claims have changed since they were read.
-- KEYS: unacked, unacked_index, owners, dead raws, dead metas, dead index
-- ARGV: owner ("" when it is the visibility timeout that has passed), seconds after
--       which an owner is dead, dead max, dead age, then for each message: claim,
--       score that was seen ("" with an owner), message ("" for the dead letters),
--       dead raw, dead meta, claim on the chord that it is a member of ("" for
--       none), number of lists, lists
-- Returns the number of messages that went back, the number of new dead letters, and the error
-- of a list that the user must not write. The message of such a list stays unacknowledged.
if ARGV[1] ~= '' and beats(KEYS[3], ARGV[1], ARGV[2]) then
  return {0, 0, ''}
end
local back, dead, barrier = 0, 0, ''
local unacked, index = KEYS[1], KEYS[2]
local grave = grave_of(KEYS[4], KEYS[5], KEYS[6], ARGV[3], ARGV[4])
ready(unacked, index, ARGV[5])

-- give puts a message back to its lists, and tells whether its claim is over.
local function give(claim, raw, i, lists)
  local pushed = 0
  for j = 1, raw == '' and 0 or lists do
    local reply = redis.pcall('RPUSH', ARGV[i + 6 + j], raw)
    if not failed(reply) then
      pushed = pushed + 1
    elseif not unusable(reply) and pushed == 0 then
      barrier = reply.err
      return false -- another worker may be able to
    end
  end
  if pushed == 0 then
    bury(grave, claim, ARGV[i + 3], ARGV[i + 4])
    dead = dead + 1
  else
    back = back + 1
  end
  return true
end

local i = 5
while ARGV[i] do
  local claim, score, raw, chord, lists = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 5], tonumber(ARGV[i + 6])
  if score == '' or redis.call('ZSCORE', index, claim) == score then
    if redis.call('HEXISTS', unacked, claim) == 0 or give(claim, raw, i, lists) then
      redis.call('ZREM', index, claim)
      redis.call('HDEL', unacked, claim)
      -- The worker may have died with its chord complete and the body not yet published. A
      -- Python worker that runs the member again leaves the body to the holder of the claim
      -- on the chord.
      if chord ~= '' and redis.pcall('GET', chord) == claim then
        redis.pcall('DEL', chord)
      end
    end
  end
  i = i + 7 + lists
end
prune(grave)
return {back, dead, barrier}
