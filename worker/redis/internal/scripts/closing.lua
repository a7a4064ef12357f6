-- Functions of scripts that move dead letters between the open and the closed ones. They follow
-- those of undo.lua.

-- ready_letters checks that letters can be moved, before the first change. The commands change
-- nothing.
local function ready_letters(from, to, expiries)
  for _, set in ipairs({from, to}) do
    redis.call('HDEL', set[1], '?')
    redis.call('HDEL', set[2], '?')
    redis.call('ZREM', set[3], '?')
  end
  redis.call('ZREM', expiries, '?')
end

-- elsewhere is the reply for a letter that is not where the caller saw it: {1} when the same
-- call, by its token, has moved it before and the reply got lost, else {0, its entry or ""}.
local function elsewhere(to, id, token)
  local entry = redis.call('HGET', to[2], id)
  if entry and string.find(entry, token, 1, true) then
    return {1}
  end
  return {0, entry or ''}
end

-- enter writes a letter into a set, in a way that undo takes back.
local function enter(set, id, score, entry, raw)
  if redis.call('ZADD', set[3], score, id) == 1 then
    did('ZREM', set[3], id)
  end
  redis.call('HSET', set[2], id, entry)
  did('HDEL', set[2], id)
  redis.call('HSET', set[1], id, raw)
  did('HDEL', set[1], id)
end

-- leave removes a letter from a set. It cannot fail after ready_letters.
local function leave(set, id)
  redis.call('HDEL', set[1], id)
  redis.call('HDEL', set[2], id)
  redis.call('ZREM', set[3], id)
end
