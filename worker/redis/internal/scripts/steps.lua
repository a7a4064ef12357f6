-- Functions of scripts that settle or give back deliveries. They follow those of undo.lua.

-- ready checks that a claim can be settled, before the first change that cannot be undone.
-- Both commands change nothing.
local function ready(unacked, index, claim)
  redis.call('ZREM', index, claim .. '?')
  redis.call('HDEL', unacked, claim .. '?')
end

-- barred tells whether a list refuses messages because of its key: because of its type, or
-- because the user must not write it.
local function barred(reply)
  return unusable(reply) or string.find(reply.err, 'of the keys', 1, true) ~= nil
end

-- push puts a message to the end of a list, or into the dead letters when the list refuses
-- it.
local function push(list, message, grave, id)
  local pushed = redis.pcall('LPUSH', list, message)
  if failed(pushed) then
    if not barred(pushed) then
      raise(pushed)
    end
    bury(grave, id, message, cjson.encode({queue = list, reason = 'queue cannot be written', at = now()}))
    return
  end
  did('LTRIM', list, 1, -1)
end

-- The count of runs that did not end is a hash: n, and the claim that was counted
-- last. Only a message that says redelivered is counted, when it begins to run;
-- so the first count stands for the first delivery, whether that ran or waited.
local count_life = 604800

-- uncount undoes the count of a delivery that was given back on purpose. first tells that it
-- is the first delivery of the message.
local function uncount(key, claim, first)
  if first and redis.call('EXISTS', key) == 0 then
    -- The next run says redelivered and is counted, which makes it none.
    redis.call('HSET', key, 'n', -1)
  elseif redis.call('HGET', key, 'claim') == claim then
    redis.call('HDEL', key, 'claim')
    redis.call('HSET', key, 'n', (tonumber(redis.call('HGET', key, 'n') or '0') or 0) - 1)
  end
  redis.call('EXPIRE', key, count_life)
end

-- forget deletes the count of a settled delivery. With the claim of a message that goes back
-- to its queue it notes that. A failure does no harm: the delivery is settled anyway.
local function forget(key, claim)
  pcall(function()
    redis.call('DEL', key)
    if claim then
      uncount(key, claim, true)
    end
  end)
end

-- over tells whether the body of a chord was published, so that one more member can only be a
-- late copy. A chord that is applied again under the ids of its first run begins anew when
-- its size is stored. That happens just before its last member is published, when other
-- members may have run already. Such a member was not delivered before, or is not the first
-- one.
local function over(base, redelivered)
  return redis.pcall('GET', base .. '.c') == 'done' and redelivered
    and redis.call('EXISTS', base .. '.j') == 0
end
