-- Functions of scripts that claim messages. They follow those of lib.lua.

-- numbered is the number of a claim as it stands in its name. The width makes the name
-- longer than 64 bytes: a sorted set of shorter ones, as long as it is small, Redis keeps
-- as a list that it reads from the beginning for each of them, which took an eighth of
-- all its time.
local function numbered(number)
  return string.format('%028d', number)
end

-- unenter takes claims off the unacked set, in a script that fails after it has entered
-- them. hash is what HSET has got.
local function unenter(unacked, index, hash)
  for i = 1, #hash, 2 do
    redis.pcall('HDEL', unacked, hash[i])
    redis.pcall('ZREM', index, hash[i])
  end
end
