-- Notes until when some subscriber of a name has listened, and finds the periods in which none
-- did.
-- KEYS: heard
-- ARGV: from and to in milliseconds: this subscriber has listened without a break; for how long
--       after a gap others may still report that they have listened in it; until when this
--       subscriber has listened before its last break, for a server that has lost the key, else 0
-- A period after a gap waits in next_from and next_to until the gap is told. hole is the part of
-- that period in which no subscriber has listened, and hole_to its end. Such a gap is told as one,
-- up to there: a worker that publishes the events of that time again must publish the last of them.
-- Returns {1 for a new gap, else 0, number of gaps, their milliseconds, begin and end of the last
-- one}.
local key, from, to, patience, own = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local life = 2592000
local heard = redis.call('HMGET', key, 'until', 'gaps', 'lost', 'from', 'to', 'next_from', 'next_to', 'hole', 'hole_to')
for i = 1, 9 do
  heard[i] = tonumber(heard[i] or '')
end
local before, gaps, lost, last_from, last_to = heard[1], heard[2] or 0, heard[3] or 0, heard[4] or 0, heard[5] or 0
local next_from, next_to, hole, hole_to = heard[6] or 0, heard[7] or 0, heard[8] or 0, heard[9] or 0
if not before and own > 0 then
  before = own
end
if before and before > to + 60000 then
  before, next_from, next_to = nil, 0, 0 -- the clock was set back
end
local new = 0
if not before or from <= before then
  before = math.max(before or to, to)
  if next_to > 0 and next_from <= before then
    before, next_from, next_to = math.max(before, next_to), 0, 0
  end
else
  if next_to == 0 then
    next_from, next_to, hole, hole_to = from, to, 0, 0
  elseif from > next_to then
    next_to, hole, hole_to = to, hole + from - next_to, from
  elseif to < next_from then
    next_from, hole, hole_to = from, hole + next_from - to, math.max(hole_to, next_from)
  else
    next_from, next_to = math.min(next_from, from), math.max(next_to, to)
  end
  if next_to - next_from >= patience then
    new, gaps, lost = 1, gaps + 1, lost + next_from - before + hole
    last_from, last_to = before, next_from
    if hole > 0 then -- an earlier version has kept no end of it
      last_to = math.min(math.max(hole_to, next_from + hole), next_to)
    end
    before, next_from, next_to = next_to, 0, 0
  end
end
if next_to == 0 then
  hole, hole_to = 0, 0
end
local values = {'until', before, 'gaps', gaps, 'lost', lost, 'from', last_from, 'to', last_to, 'next_from', next_from, 'next_to', next_to, 'hole', hole, 'hole_to', hole_to}
for i = 2, #values, 2 do
  values[i] = string.format('%d', values[i])
end
redis.call('HSET', key, unpack(values))
redis.pcall('EXPIRE', key, life)
return {new, gaps, lost, last_from, last_to}
