-- Functions of all scripts, in front of each. Redis creates them anew at every call, so other
-- files have the functions of some scripts only.

-- lease is the score of a claim that is taken or renewed now: the beginning of the
-- next second. Redis keeps small sets as text, and writes and reads whole numbers there
-- much faster; a lease lasts up to a second longer for it.
local function lease()
  return string.format('%d', redis.call('TIME')[1] + 1)
end

-- failed tells whether a reply of redis.pcall is an error.
local function failed(reply)
  return type(reply) == 'table' and reply.err ~= nil
end

-- raise ends the script with an error that redis.pcall or pcall has returned.
local function raise(reply)
  if type(reply) == 'table' and not redis.REDIS_VERSION_NUM then
    error(reply.err, 0) -- before Redis 7 an error is a text
  end
  error(reply)
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
  if not taken and set(key, value, expires, 'NX') then
    local heard = redis.pcall('PUBLISH', key, value)
    if failed(heard) then
      redis.pcall('DEL', key)
      raise(heard)
    end
    return heard
  end
  if succeeded(key) ~= false then
    return nil
  end
  -- In this order: that a result was announced twice is harmless.
  local heard = redis.call('PUBLISH', key, value)
  set(key, value, expires)
  return heard
end
