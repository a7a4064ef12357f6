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
-- down last. value is "time shares", and for a limit without a rate "time shares every callers":
-- the time between two tokens that it got, and who gave it. Such a limit recovers to twice its
-- rate, and then it has none. Any other value has no effect.
local function share_of(value, at)
  local slowed, shares, every, callers = string.match(value or '', '^(%d+) (%d+) ?(%d*) ?(%S*)$')
  slowed, shares, every = tonumber(slowed), tonumber(shares), every ~= '' and tonumber(every) or nil
  if not shares or shares < 1 or slowed > at or every and (every < 1 or every > 1e12) then
    return whole, nil
  end
  shares = shares + math.floor((at - slowed) / recovery)
  if not every then
    return math.min(whole, shares), slowed
  elseif shares >= 2 * whole then
    return whole, nil
  end
  return shares, slowed, every, callers
end
