-- Halves the rate of a limit, unless that was done a moment ago.
-- KEYS: share of the rate
-- ARGV: microseconds in which the rate is halved once, least shares
-- Returns {shares of the rate, 1 if it was halved}.
local at = microseconds()
local value = redis.pcall('GET', KEYS[1])
if failed(value) then
  if not unusable(value) then
    raise(value)
  end
  value = nil -- a key of another type is replaced
end
local shares, slowed = share_of(value or nil, at)
if slowed and at - slowed < tonumber(ARGV[1]) then
  return {shares, 0}
end
shares = math.max(math.floor(shares / 2), tonumber(ARGV[2]))
redis.call('SET', KEYS[1], string.format('%.0f %d', at, shares), 'PX', math.ceil((whole - shares) * recovery / 1000) + 1000)
return {shares, 1}
