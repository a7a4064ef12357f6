-- Functions of all scripts, in front of each. Redis creates them anew at every call, so other
-- files have the functions of some scripts only.

-- lease is the score of a claim that is taken or renewed now: the beginning of the next
-- second. Redis keeps small sets as text, and handles whole numbers much faster there. A
-- lease lasts up to a second longer because of it.
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

-- succeeded tells whether the result under key is SUCCESS, nil when the key has another type.
-- Every known writer begins with the status, so the rest of the value is not read.
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

-- set gives a key a value for a number of seconds, or with "0" for ever. Further arguments
-- are options of SET.
local function set(key, value, expires, ...)
  if expires == '0' then
    return redis.call('SET', key, value, ...)
  end
  return redis.call('SET', key, value, 'EX', expires, ...)
end

-- store writes a result and announces it on the channel with the name of the key, unless
-- SUCCESS is stored already. It returns the number of clients that heard it, or nil. A key of
-- another type stays as it is: producers choose the ids of tasks, and one message must not
-- stop the others. expires is the text of a number of seconds, "0" for ever. taken says that
-- a result is probably stored.
local function store(key, value, expires, taken)
  -- Usually nothing is stored yet, and one call is enough.
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
  -- In this order, because announcing a result twice is harmless.
  local heard = redis.call('PUBLISH', key, value)
  set(key, value, expires)
  return heard
end
