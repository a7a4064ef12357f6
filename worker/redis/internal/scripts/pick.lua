-- Moves exact messages of one list to the unacked set, wherever they are in the list. It does
-- the same as claim.lua for messages that the caller has judged as good.
-- KEYS: see below
-- ARGV: see below, then for each message: message, completed message ("" when nothing is
--       missing), key of its crashes ("" when it was not delivered before). from is the
--       direction of the search, as of LREM; reach is how many messages are searched for each;
--       tail ends an entry behind its message.
-- Returns for each message the number of its earlier deliveries that were not settled, -1 when
-- another worker has taken it.

local unacked, index, owner, list = unpack(KEYS, 1, 4)
local epoch, claim_prefix, next_number, from, reach, tail = unpack(ARGV, 1, 6)
local fixed_args = 6

if redis.call('HGET', owner, 'epoch') ~= epoch then
  return redis.error_reply('STALECLAIM this claim was given up')
end

-- removed removes a message from the list, and tells whether it was there. LREM searches the
-- whole list for one that another worker has taken, which blocks Redis if the list is long.
-- LPOS ends at reach. Where it is unavailable, the first message that is missing is the last
-- one that is searched.
local bounded, missed = redis.call('LLEN', list) > 2 * tonumber(reach), false
local function removed(raw)
  if missed then
    return false
  end
  if bounded then
    local place = redis.pcall('LPOS', list, raw, 'RANK', from, 'MAXLEN', reach)
    if not place then
      return false
    end
    bounded = not failed(place)
  end
  local found = redis.call('LREM', list, from, raw) > 0
  missed = not found and redis.call('LLEN', list) > 2 * tonumber(reach)
  return found
end

ready(unacked, index, claim_prefix)
local n, number, due = (#ARGV - fixed_args) / 3, tonumber(next_number), lease()
local claims, earlier = {}, {}
-- All are entered before the first one is removed from the list, so that a step that fails can
-- be undone: if one removal works, all do.
local ok, err = pcall(function()
  for i = 1, n do
    local raw, completed, crashes = unpack(ARGV, fixed_args + 3 * i - 2, fixed_args + 3 * i)
    local claim = claim_prefix .. numbered(number + i - 1)
    claims[i], earlier[i] = claim, 0
    redis.call('ZADD', index, due, claim)
    did('ZREM', index, claim)
    redis.call('HSET', unacked, claim, '[' .. (completed ~= '' and completed or raw) .. tail)
    did('HDEL', unacked, claim)
    if crashes ~= '' then
      local counted = redis.pcall('HGET', crashes, 'n')
      earlier[i] = failed(counted) and 0 or (tonumber(counted or '0') or 0) + 1
    end
  end
  for i = 1, n do
    if not removed(ARGV[fixed_args + 3 * i - 2]) then
      redis.call('ZREM', index, claims[i])
      redis.call('HDEL', unacked, claims[i])
      earlier[i] = -1
    end
  end
end)
if not ok then
  undo(err)
end
return earlier
