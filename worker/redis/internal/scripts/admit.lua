-- Takes a token of each of several limits, or none at all (GCRA). All times are integers, in
-- microseconds.
-- KEYS: for each limit: the time until which its tokens are taken, and its share of the rate
-- ARGV: for each limit: time between two tokens (0: the one that slow.lua has given it, if
-- any), burst, longest reservation
-- Returns {time until the tokens are free, number of the limit that decides it (0 for none),
-- 1 if they were taken}.
local at = microseconds()
local values = redis.call('MGET', unpack(KEYS))
local taken, wait, decides, reserved = {}, 0, 0, true
for i = 1, #KEYS / 2 do
  local every, burst, longest = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local shares, _, given = share_of(values[2 * i], at)
  if every == 0 then
    every = given and math.ceil(given * whole / shares)
  else
    every = math.ceil(every * whole / math.min(shares, whole))
  end
  taken[i] = false
  if every then
    local last = values[2 * i - 1] or ''
    last = #last < 17 and tonumber(string.match(last, '^%d+$') or '') or 0 -- a value that is no time has no effect
    taken[i] = math.max(last, at) + every
    local free = taken[i] - burst * every - at
    if free > wait then
      wait, decides = free, i
    end
    reserved = reserved and free <= longest
  end
end
if not reserved then
  return {wait, decides, 0}
end
for i, time in ipairs(taken) do
  if time then
    redis.call('SET', KEYS[2 * i - 1], string.format('%.0f', time), 'PX', math.ceil((time - at) / 1000) + 1000)
  end
end
return {wait, decides, 1}
