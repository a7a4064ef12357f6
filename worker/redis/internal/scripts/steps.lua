-- Functions of scripts that end or give back deliveries. They come behind those of undo.lua.

-- ready makes sure that a claim can end, before the first step that cannot be taken back.
-- Both commands change nothing.
local function ready(unacked, index, claim)
  redis.call('ZREM', index, claim .. '?')
  redis.call('HDEL', unacked, claim .. '?')
end

-- barred tells whether a list takes no message because of its key: of its type, or of
-- the patterns of keys that the user may write.
local function barred(reply)
  return unusable(reply) or string.find(reply.err, 'of the keys', 1, true) ~= nil
end

-- push puts a message to the end of a list, or into the dead letters when the key
-- does not take it.
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

-- uncount takes back what a delivery that ended on purpose counts; first tells
-- that no delivery before it has ended otherwise.
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

-- forget ends the count of a delivery that has ended; of one that goes back to its queue
-- under a claim it says so. The delivery has ended whatever becomes of the count.
local function forget(key, claim)
  pcall(function()
    redis.call('DEL', key)
    if claim then
      uncount(key, claim, true)
    end
  end)
end

-- over tells whether a chord has had its body, so that one more member can only
-- be a late copy. A chord that is applied again under the ids of its first run
-- begins anew when its size is stored, which is just before its last member is
-- published: the others may have ended by then. Such a member was not delivered
-- before, or is not the first to come.
local function over(base, redelivered)
  return redis.pcall('GET', base .. '.c') == 'done' and redelivered
    and redis.call('EXISTS', base .. '.j') == 0
end
