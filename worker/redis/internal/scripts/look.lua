-- Looks at the ends of lists, without taking anything.
-- KEYS: unacked, unacked_index, then the lists
-- ARGV: entries that a search looks at, bytes of a message that is returned, a key that is
--       never set or "" (not among KEYS, because a user may have no right to it), then for each
--       list the newest message of the look before, "" for none
-- Returns the time in seconds, the numbers of unacknowledged messages and of their index,
-- for each list {length, place, newest, hash of the oldest}, and the refusal of a write, "" for
-- none.
-- Producers push at the left end, workers take from the right end. place is the number of
-- messages that are newer than the one of the look before: -1 when the list does not have it
-- any more, -2 when that is unknown. newest is "" when it is the same, or larger than the
-- bound. length is -1 for a key of another type.
local most, bytes = ARGV[1], tonumber(ARGV[2])

local function place(list, since)
  local at = redis.pcall('LPOS', list, since, 'MAXLEN', most)
  if type(at) == 'number' then
    return at
  end
  if failed(at) or redis.call('LLEN', list) > tonumber(most) then -- before Redis 6.0.6, or too deep
    return -2
  end
  return -1
end

local function count(command, key)
  local n = redis.pcall(command, key)
  return type(n) == 'number' and n or -1
end

local lists = {}
for i = 3, #KEYS do
  local list, since = KEYS[i], ARGV[i + 1]
  local n = count('LLEN', list)
  if n <= 0 then
    lists[i - 2] = {n, -1, '', ''}
  else
    local newest, oldest = redis.call('LINDEX', list, 0), redis.call('LINDEX', list, -1)
    local at = -2
    if newest == since then
      at, newest = 0, ''
    elseif since ~= '' then
      at = place(list, since)
    end
    if #newest > bytes then
      newest = ''
    end
    lists[i - 2] = {n, at, newest, redis.sha1hex(oldest)}
  end
end
-- A server that is full, a replica, or one that cannot save its data, still answers reads. XX
-- sets nothing, because the key does not exist.
local refusal = ''
if ARGV[3] ~= '' then
  local reply = redis.pcall('SET', ARGV[3], '', 'XX')
  refusal = failed(reply) and reply.err or ''
end
local t = redis.call('TIME')
return {t[1] .. '.' .. string.format('%06d', t[2]), count('HLEN', KEYS[1]), count('ZCARD', KEYS[2]), lists, refusal}
