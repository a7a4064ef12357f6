-- Takes messages that the caller has looked at a moment ago and found fine: the same
-- as claim.lua, without having to read them.
-- KEYS: unacked, unacked_index, owner, list, then the lists that may have something
--       to be taken before
-- ARGV: epoch, claim prefix, next number, how many bytes an entry has beside its
--       message, then the entries of the messages, the next one first
-- Returns {how many of the first ones somebody else has taken, how many of those behind
-- them are claimed}; the second is -1 when one of the other lists has a message.
if redis.call('HGET', KEYS[3], 'epoch') ~= ARGV[1] then
  return redis.error_reply('STALECLAIM this claim was given up')
end
if #KEYS > 4 and redis.call('EXISTS', unpack(KEYS, 5)) > 0 then
  return {0, -1}
end
local n = #ARGV - 4
-- same tells whether an entry is that of a message. Nothing is cut out of it or put
-- together: Lua reads every byte of a text that it makes.
local beside = tonumber(ARGV[4])
local function same(entry, raw)
  return raw and #entry == #raw + beside and string.find(entry, raw, 2, true) == 2
end
local there = redis.call('LRANGE', KEYS[4], -n, -1)
local last = #there
local gone = 0
while gone < n and not same(ARGV[5 + gone], there[last]) do
  gone = gone + 1
end
local prefix, number, due = ARGV[2], tonumber(ARGV[3]), lease()
local hash, index, count = {}, {}, 0
while gone + count < n and same(ARGV[5 + gone + count], there[last - count]) do
  local claim = prefix .. numbered(number + count)
  count = count + 1
  hash[2 * count - 1], hash[2 * count] = claim, ARGV[4 + gone + count]
  index[2 * count - 1], index[2 * count] = due, claim
end
if count > 0 then
  -- In this order: an entry of the index alone is cleaned up by every recovery. A step
  -- that fails takes those before it back.
  redis.call('ZADD', KEYS[2], unpack(index))
  local entered = redis.pcall('HSET', KEYS[1], unpack(hash))
  if not failed(entered) then
    entered = redis.pcall('LTRIM', KEYS[4], 0, -1 - count)
  end
  if failed(entered) then
    unenter(KEYS[1], KEYS[2], hash)
    raise(entered)
  end
end
return {gone, count}
