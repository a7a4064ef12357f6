-- Functions that several scripts share; put in front of each.

local function now()
  local t = redis.call('TIME')
  return string.format('%d.%06d', t[1], t[2])
end

-- succeeded tells whether the result under key is SUCCESS. Every known writer
-- begins with the status, so that the value need not be read as a whole.
local function succeeded(key)
  local head = redis.call('GETRANGE', key, 0, 63)
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

-- store writes a result and tells those who wait for it, unless SUCCESS is
-- there already: nothing may replace that. The channel has the name of the key.
local function store(key, value, expires)
  if succeeded(key) then
    return
  end
  if expires > 0 then
    redis.call('SETEX', key, expires, value)
  else
    redis.call('SET', key, value)
  end
  redis.call('PUBLISH', key, value)
end

-- bury puts a message into the dead letters and drops those that are too many
-- or too old.
local function bury(raws, metas, index, id, raw, meta, max, age)
  local t = now()
  redis.call('HSET', raws, id, raw)
  redis.call('HSET', metas, id, meta)
  redis.call('ZADD', index, t, id)
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
