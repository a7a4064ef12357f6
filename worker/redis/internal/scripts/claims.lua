-- Functions of scripts that claim messages. They follow those of lib.lua.

-- numbered returns the number of a claim with fixed width. The width makes a claim longer
-- than 64 bytes. Redis keeps a small sorted set of shorter members as a list, and searches it
-- from the beginning, which took an eighth of all its time.
local function numbered(number)
  return string.format('%028d', number)
end

-- unenter removes claims from the unacked set, in a script that fails after it has entered
-- them. hash holds the arguments of HSET.
local function unenter(unacked, index, hash)
  for i = 1, #hash, 2 do
    redis.pcall('HDEL', unacked, hash[i])
    redis.pcall('ZREM', index, hash[i])
  end
end
