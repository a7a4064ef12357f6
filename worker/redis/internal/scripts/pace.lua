-- Functions of scripts about limits. They follow those of undo.lua.

-- All of a rate is a million shares.
local whole = 1000000
-- A rate recovers by a tenth of the whole in a minute: by one share in so many microseconds.
local recovery = 600

-- microseconds returns the time of the server.
local function microseconds()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- share_of returns how many shares of its rate a limit has at a time, and when it was slowed
-- down last. value is "time shares"; any other value has no effect.
local function share_of(value, at)
  local slowed, shares = string.match(value or '', '^(%d+) (%d+)$')
  slowed, shares = tonumber(slowed), tonumber(shares)
  if not shares or shares < 1 or slowed > at then
    return whole, nil
  end
  return math.min(whole, shares + math.floor((at - slowed) / recovery)), slowed
end
