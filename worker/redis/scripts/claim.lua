-- Takes messages from the lists and enters them as unacknowledged, in one step.
-- KEYS: unacked, unacked_index, owner, dead raws, dead metas, dead index, lists...
-- ARGV: epoch, claim prefix, next number, max messages, max bytes of a message,
--       max bytes in all, dead max, dead age, queue of each list...
-- Returns {{claim, list number, raw}...} and {{claim, list number, reason, raw}...}.

-- A claim that was given up for lost must not run when it arrives after all.
if redis.call('HGET', KEYS[3], 'epoch') ~= ARGV[1] then
  return redis.error_reply('STALECLAIM this claim was given up')
end

local max_bytes = tonumber(ARGV[5])

-- fault says why a Python worker could not put raw back into its queue; such a
-- message must never be entered as unacknowledged, where it would crash them.
local function fault(raw)
  if #raw > max_bytes then
    return 'too-large'
  end
  local ok, m = pcall(cjson.decode, raw)
  if not ok then
    return 'not-json'
  end
  if type(m) ~= 'table' or string.find(raw, '^%s*%[') then
    return 'not-object'
  end
  local p = m.properties
  if type(p) ~= 'table' then
    return 'no-properties'
  end
  if type(p.delivery_tag) ~= 'string' and type(p.delivery_tag) ~= 'number' then
    return 'no-delivery-tag'
  end
  local d = p.delivery_info
  if type(d) ~= 'table' or type(d.exchange) ~= 'string' or type(d.routing_key) ~= 'string' then
    return 'no-delivery-info'
  end
  if type(m.headers) ~= 'table' or #m.headers > 0 or string.find(raw, '"headers"%s*:%s*%[') then
    return 'no-headers'
  end
  return nil
end

local claimed, dead = {}, {}
local number, left, budget = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local hash, index = {}, {}
local t = now()

for i = 7, #KEYS do
  local queue = ARGV[i + 2]
  while left > 0 and budget > 0 do
    local raw = redis.call('RPOP', KEYS[i])
    if not raw then
      break
    end
    local claim = ARGV[2] .. string.format('%012d', number)
    number = number + 1
    left = left - 1
    budget = budget - #raw
    local reason = fault(raw)
    if reason then
      local meta = cjson.encode({queue = queue, reason = reason, at = t})
      bury(KEYS[4], KEYS[5], KEYS[6], claim, raw, meta, tonumber(ARGV[7]), tonumber(ARGV[8]))
      -- The caller looks again with a complete parser.
      local unsure = reason == 'not-json' or reason == 'not-object'
      dead[#dead + 1] = {claim, i - 6, reason, unsure and raw or ''}
    else
      -- Joined as text: encoding again would change numbers. The exchange is
      -- always the anonymous one, so that it goes back to where it came from.
      hash[#hash + 1] = claim
      hash[#hash + 1] = '[' .. raw .. ', "", ' .. cjson.encode(queue) .. ']'
      index[#index + 1] = t
      index[#index + 1] = claim
      claimed[#claimed + 1] = {claim, i - 6, raw}
    end
  end
end

if #hash > 0 then
  redis.call('HSET', KEYS[1], unpack(hash))
  redis.call('ZADD', KEYS[2], unpack(index))
end
return {claimed, dead}
