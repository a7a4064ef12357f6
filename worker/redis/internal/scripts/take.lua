-- Takes a token of a rate limit that all workers share.
-- KEYS: limit
-- ARGV: microseconds between two tokens
-- Returns the microseconds until the next token, 0 when one was taken. The key holds the time
-- of the next token. At most one token is in stock.
local t = redis.call('TIME')
local at = t[1] * 1000000 + t[2]
local free = redis.pcall('GET', KEYS[1])
if failed(free) and not unusable(free) then
  raise(free)
end
-- A value that is no time is replaced.
free = tonumber(type(free) == 'string' and free or '0') or 0
if free > at then
  return free - at
end
local every = tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.0f', at + every), 'PX', math.ceil(every / 1000) + 1000)
return 0
