-- Functions of scripts that make several changes and undo them when a later one fails. They
-- follow those of lib.lua.

local function now()
  local t = redis.call('TIME')
  return string.format('%d.%06d', t[1], t[2])
end

-- unusable tells whether an error comes from the value of a key, and not from the server or
-- the permissions of its user. Every other command and key may work.
local function unusable(reply)
  local text = type(reply) == 'table' and reply.err or reply
  return string.find(text, 'WRONGTYPE', 1, true) ~= nil or string.find(text, 'not an integer', 1, true) ~= nil
end

-- Redis undoes nothing of a script that fails. done are the commands that undo the changes of
-- a script so far.
local done = {}

local function did(...)
  done[#done + 1] = {...}
end

-- undo undoes the changes of a script, the last one first, and ends it with an error.
local function undo(err)
  for i = #done, 1, -1 do
    redis.pcall(unpack(done[i]))
  end
  raise(err)
end

-- A grave is where dead letters are: {raws, metas, index, how many at most, seconds that
-- they live}. While one of these keys has another type, the list raws.spare takes them. The
-- broker moves them when a person has mended the keys.
local function grave_of(raws, metas, index, max, age)
  return {raws, metas, index, tonumber(max), tonumber(age), buried = 0}
end

-- keep enters a dead letter, or changes nothing and returns the error. prune must follow.
local function keep(grave, id, raw, meta)
  local raws, metas, index = grave[1], grave[2], grave[3]
  -- In this order, so that no letter is left without an index entry.
  local kept = redis.pcall('ZADD', index, now(), id)
  local indexed = kept == 1
  if not failed(kept) then
    kept = redis.pcall('HSET', metas, id, meta)
  end
  if not failed(kept) then
    kept = redis.pcall('HSET', raws, id, raw)
  end
  if failed(kept) then
    if indexed then
      redis.pcall('ZREM', index, id)
      redis.pcall('HDEL', metas, id)
    end
    return kept
  end
  if indexed then
    did('ZREM', index, id)
    did('HDEL', metas, id)
    did('HDEL', raws, id)
  end
  grave.buried = grave.buried + 1
end

-- bury puts the message of a claim into the dead letters.
local function bury(grave, claim, raw, meta)
  -- Claims begin with the id of their worker, which is long and the same for many; the id of
  -- a letter is for people to read and to type. A claim that is settled twice is one letter.
  local id = string.sub(redis.sha1hex(claim), 1, 12)
  local fault = keep(grave, id, raw, meta)
  if fault then
    if not unusable(fault) then
      raise(fault)
    end
    redis.call('LPUSH', grave[1] .. '.spare', id .. '\n' .. meta .. '\n' .. raw)
    did('LTRIM', grave[1] .. '.spare', 1, -1)
  end
end

-- prune removes dead letters that are too many or too old. It comes last, and its failure
-- does no harm.
local function prune(grave)
  if grave.buried == 0 then
    return
  end
  local raws, metas, index, max, age = unpack(grave)
  pcall(function()
    for _, key in ipairs({raws, metas, index}) do
      redis.call('EXPIRE', key, age)
    end
    local drop = redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. (now() - age))
    if #drop == 0 and redis.call('ZCARD', index) > max then
      drop = redis.call('ZRANGE', index, 0, redis.call('ZCARD', index) - max - 1)
    end
    for _, old in ipairs(drop) do
      redis.call('HDEL', raws, old)
      redis.call('HDEL', metas, old)
      redis.call('ZREM', index, old)
    end
  end)
end
