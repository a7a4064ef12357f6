-- Moves dead letters from the spare list to their keys, which had another type before.
-- KEYS: dead raws, dead metas, dead index, spare
-- ARGV: dead max, dead age, how many at most
-- Returns how many have moved.
local grave = grave_of(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2])
local moved = 0
while moved < tonumber(ARGV[3]) do
  local letter = redis.call('LINDEX', KEYS[4], -1)
  if not letter then
    break
  end
  local id, meta, raw = string.match(letter, '^(%w+)\n([^\n]*)\n(.*)$')
  if not id then
    id, meta, raw = redis.sha1hex(letter), '{}', letter -- written by another program
  end
  local fault = keep(grave, id, raw, meta)
  if fault then
    if not unusable(fault) then
      raise(fault)
    end
    break
  end
  local taken = redis.pcall('LTRIM', KEYS[4], 0, -2)
  if failed(taken) then
    undo(taken)
  end
  done = {}
  moved = moved + 1
end
prune(grave)
return moved
