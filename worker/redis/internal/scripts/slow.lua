-- Halves the rate of a limit, unless that was done a moment ago. A limit without a rate gets the
-- sum of those of its callers first.
-- KEYS: share of the rate
-- ARGV: microseconds in which the rate is halved once, least shares, and for a limit without a
--       rate: time between two tokens of the caller (0 for one with a rate), caller
-- Returns {shares of the rate, 1 if it was halved}.
local at = microseconds()
local value = redis.pcall('GET', KEYS[1])
if failed(value) then
  if not unusable(value) then
    raise(value)
  end
  value = nil -- a key of another type is replaced
end
local own, caller = tonumber(ARGV[3]), ARGV[4]
local shares, slowed, every, callers = share_of(value or nil, at)
local function store(time, most)
  local text = string.format('%.0f %d', time, shares)
  if every then
    text = text .. string.format(' %.0f ', every) .. callers
  end
  redis.call('SET', KEYS[1], text, 'PX', math.ceil((most - shares) * recovery / 1000) + 1000)
end
if own == 0 then
  if slowed and at - slowed < tonumber(ARGV[1]) then
    return {math.min(shares, whole), 0}
  end
  shares, every = math.min(shares, whole), nil
elseif not every then
  every, callers, slowed = own, caller, nil
elseif at - slowed < tonumber(ARGV[1]) then
  -- Later callers are slowed down themselves: what they had tells nothing.
  if callers ~= '-' and #callers < 4000 and not string.find(',' .. callers .. ',', ',' .. caller .. ',', 1, true) then
    every, callers = math.max(1, math.floor(every * own / (every + own))), callers .. ',' .. caller
    shares = shares - math.floor((at - slowed) / recovery)
    store(slowed, 2 * whole)
  end
  return {shares, 0}
else
  callers = '-'
end
shares = math.max(math.floor(shares / 2), tonumber(ARGV[2]))
store(at, own == 0 and whole or 2 * whole)
return {shares, 1}
