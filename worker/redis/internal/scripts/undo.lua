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
  -- Without this entry the arguments are wiped later, but they are not shown any more.
  local expires = string.match(meta, '"expires":([%d.]+)')
  if expires and redis.pcall('ZADD', raws .. '.expires', expires, id) == 1 then
    did('ZREM', raws .. '.expires', id)
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

-- keep_for lets the keys of dead letters expire a day after the last letter, so that letters that
-- become too old are counted before.
local function keep_for(age, ...)
  for _, key in ipairs({...}) do
    redis.call('EXPIRE', key, age + 86400)
  end
end

-- most_pruned bounds the dead letters that one call removes. The next call removes the others.
local most_pruned = 1000

-- discard removes dead letters, and counts them unless kind is nil: in the hash raws.dropped,
-- which outlives them. A counter of another type loses the count only.
local function discard(raws, metas, index, ids, kind)
  if #ids == 0 then
    return
  end
  -- What can fail comes first, and changes no letter.
  redis.call('HDEL', raws, '?')
  redis.call('HDEL', metas, '?')
  redis.call('ZREM', index, '?')
  local noted = kind and redis.pcall('HSET', raws .. '.dropped', 'at', now())
  if failed(noted) and not unusable(noted) then
    raise(noted)
  end
  for _, id in ipairs(ids) do
    redis.call('ZREM', index, id)
    redis.call('HDEL', raws, id)
    redis.call('HDEL', metas, id)
  end
  if kind then
    redis.pcall('HINCRBY', raws .. '.dropped', kind, #ids)
    redis.pcall('EXPIRE', raws .. '.dropped', 31622400) -- a year: every key has an end
  end
end

-- prune_all removes dead letters that are too many or too old, the oldest first.
local function prune_all(raws, metas, index, max, age, counted)
  local old = redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. (now() - age), 'LIMIT', 0, most_pruned)
  discard(raws, metas, index, old, counted and 'aged')
  local surplus = redis.call('ZCARD', index) - max
  if surplus > 0 then
    local oldest = redis.call('ZRANGE', index, 0, math.min(surplus, most_pruned) - 1)
    discard(raws, metas, index, oldest, counted and 'capped')
  end
end

-- prune removes dead letters after others were buried. It comes last, and its failure does no
-- harm.
local function prune(grave)
  if grave.buried == 0 then
    return
  end
  local raws, metas, index, max, age = unpack(grave, 1, 5)
  pcall(function()
    keep_for(age, raws, metas, index, raws .. '.expires')
    prune_all(raws, metas, index, max, age, true)
  end)
end
