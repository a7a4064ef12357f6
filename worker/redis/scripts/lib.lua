-- Functions that several scripts share; put in front of each.

local function now()
  local t = redis.call('TIME')
  return string.format('%d.%06d', t[1], t[2])
end

-- lease is the score of a claim that is taken or renewed now: the beginning of the
-- next second. Redis keeps small sets as text, and writes and reads whole numbers there
-- much faster; a lease lasts up to a second longer for it.
local function lease()
  return string.format('%d', redis.call('TIME')[1] + 1)
end

-- numbered is the number of a claim as it stands in its name. The width makes the name
-- longer than 64 bytes: a sorted set of shorter ones, as long as it is small, Redis keeps
-- as a list that it reads from the beginning for each of them, which took an eighth of
-- all its time.
local function numbered(number)
  return string.format('%028d', number)
end

-- beats tells whether an owner has said in time that it lives.
local function beats(owners, owner, timeout)
  local seen = redis.call('ZSCORE', owners, owner)
  return seen and tonumber(seen) > now() - tonumber(timeout)
end

-- succeeded tells whether the result under key is SUCCESS; nil when the key holds
-- something that is no result. Every known writer begins with the status, so that the
-- value need not be read as a whole.
local function succeeded(key)
  local head = redis.pcall('GETRANGE', key, 0, 63)
  if type(head) == 'table' then
    if string.sub(head.err, 1, 9) == 'WRONGTYPE' then
      return nil
    end
    head = redis.call('GETRANGE', key, 0, 63) -- says what is wrong in its own words
  end
  if head == '' then
    return false
  end
  local status = string.match(head, '^%s*{%s*"status"%s*:%s*"(%u+)"')
  if status then
    return status == 'SUCCESS'
  end
  local ok, value = pcall(cjson.decode, redis.call('GET', key))
  return ok and type(value) == 'table' and value.status == 'SUCCESS'
end

-- set gives a key a value, for so many seconds or with "0" for ever; more are further
-- words of the command.
local function set(key, value, expires, ...)
  if expires == '0' then
    return redis.call('SET', key, value, ...)
  end
  return redis.call('SET', key, value, 'EX', expires, ...)
end

-- store writes a result and tells those who wait for it, unless SUCCESS is there
-- already: nothing may replace that. The channel has the name of the key. It returns
-- how many have heard, or nil. A key that holds something else stays as it is: the id
-- of a task is the producer's choice, and one message must not stop the others.
-- The life is the text of a number of seconds, "0" for ever. taken says that there
-- probably is a result.
local function store(key, value, expires, taken)
  -- Mostly there is nothing yet, and then one call is all.
  if taken or not set(key, value, expires, 'NX') then
    if succeeded(key) ~= false then
      return nil
    end
    set(key, value, expires)
  end
  return redis.call('PUBLISH', key, value)
end

-- The count of runs that did not end is a hash: n, and the claim that was counted
-- last. Only a message that says redelivered is counted, when it begins to run;
-- so the first count stands for the first delivery, whether that ran or waited.
local count_life = 604800

-- recount counts a run, once for each claim.
local function recount(key, claim)
  if redis.call('HGET', key, 'claim') == claim then
    return tonumber(redis.call('HGET', key, 'n'))
  end
  local n = redis.call('HINCRBY', key, 'n', 1)
  redis.call('HSET', key, 'claim', claim)
  redis.call('EXPIRE', key, count_life)
  return n
end

-- uncount takes back what a delivery that ended on purpose counts; first tells
-- that no delivery before it has ended otherwise.
local function uncount(key, claim, first)
  if first and redis.call('EXISTS', key) == 0 then
    -- The next run says redelivered and is counted, which makes it none.
    redis.call('HSET', key, 'n', -1)
  elseif redis.call('HGET', key, 'claim') == claim then
    redis.call('HINCRBY', key, 'n', -1)
    redis.call('HDEL', key, 'claim')
  end
  redis.call('EXPIRE', key, count_life)
end

-- over tells whether a chord has had its body, so that one more member can only
-- be a late copy. A chord that is applied again under the ids of its first run
-- begins anew when its size is stored, which is just before its last member is
-- published: the others may have ended by then. Such a member was not delivered
-- before, or is not the first to come.
local function over(base, redelivered)
  return redis.call('GET', base .. '.c') == 'done' and redelivered
    and redis.call('EXISTS', base .. '.j') == 0
end

-- letter is the id of the dead letter that a claim becomes. Claims begin with
-- the id of their worker, which is long and the same for many; this one is for
-- people to read and to type. A claim that is settled twice is one letter.
local function letter(claim)
  return string.sub(redis.sha1hex(claim), 1, 12)
end

-- bury puts the message of a claim into the dead letters and drops those that
-- are too many or too old.
local function bury(raws, metas, index, claim, raw, meta, max, age)
  local t, id = now(), letter(claim)
  -- In this order: whatever fails, no letter is left that nothing leads to.
  redis.call('ZADD', index, t, id)
  redis.call('HSET', metas, id, meta)
  redis.call('HSET', raws, id, raw)
  local drop = redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. (t - age))
  if #drop == 0 and redis.call('ZCARD', index) > max then
    drop = redis.call('ZRANGE', index, 0, redis.call('ZCARD', index) - max - 1)
  end
  for _, old in ipairs(drop) do
    redis.call('HDEL', raws, old)
    redis.call('HDEL', metas, old)
    redis.call('ZREM', index, old)
  end
  redis.call('EXPIRE', raws, age)
  redis.call('EXPIRE', metas, age)
  redis.call('EXPIRE', index, age)
end

-- push puts a message to the end of a list, or into the dead letters when the key
-- holds something else. grave is the keys of the dead letters, their number and
-- their age.
local function push(list, message, grave, id)
  local pushed = redis.pcall('LPUSH', list, message)
  if type(pushed) == 'table' then
    bury(grave[1], grave[2], grave[3], id, message,
      cjson.encode({queue = list, reason = 'queue cannot be written', at = now()}), grave[4], grave[5])
  end
end
