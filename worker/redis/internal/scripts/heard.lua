-- Notes until when some subscriber of a name has listened, and finds the periods in which none
-- did.
-- KEYS: heard
-- ARGV: from and to in milliseconds: this subscriber has listened without a break; "1" to tell of
--       a gap before, else "0": another subscriber may still report that it has listened
-- Returns {1 for a new gap, else 0, number of gaps, their milliseconds, begin and end of the last
-- one}.
local key, from, to = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local life = 2592000
local heard = redis.call('HMGET', key, 'until', 'gaps', 'lost', 'from', 'to')
local before = tonumber(heard[1] or '')
local gaps, lost = tonumber(heard[2] or '') or 0, tonumber(heard[3] or '') or 0
local last_from, last_to = tonumber(heard[4] or '') or 0, tonumber(heard[5] or '') or 0
if before and before > to + 60000 then
  before = nil -- the clock was set back
end
local new = before and before < from and 1 or 0
if new == 1 then
  if ARGV[3] ~= '1' then
    return {0, gaps, lost, last_from, last_to}
  end
  gaps, lost, last_from, last_to = gaps + 1, lost + from - before, before, from
end
if not before or before < to then
  local values = {'until', to, 'gaps', gaps, 'lost', lost, 'from', last_from, 'to', last_to}
  for i = 2, #values, 2 do
    values[i] = string.format('%d', values[i])
  end
  redis.call('HSET', key, unpack(values))
  redis.pcall('EXPIRE', key, life)
end
return {new, gaps, lost, last_from, last_to}
