-- Moves messages to the unacked set that the caller has just judged as good. It does the same
-- as claim.lua without parsing them.
-- KEYS: see below, then the lists that may have a message to be taken before.
-- ARGV: see below, then the entries of the messages, the next one first. beside is the number
--       of bytes that an entry has beside its message.
-- Returns {number of the first messages that other workers have taken, number of messages
-- after them that are claimed}. The second is -1 when one of the other lists has a message.

local unacked, index, owner, list = unpack(KEYS, 1, 4)
local epoch, claim_prefix, next_number, beside = unpack(ARGV, 1, 4)
local first_other, first_entry = 5, 5 -- of KEYS, of ARGV

if redis.call('HGET', owner, 'epoch') ~= epoch then
  return redis.error_reply('STALECLAIM this claim was given up')
end
if #KEYS >= first_other and redis.call('EXISTS', unpack(KEYS, first_other)) > 0 then
  return {0, -1}
end
local n = #ARGV - first_entry + 1
-- same tells whether an entry is that of a message. It creates no text, because Lua reads every
-- byte of a text that it creates.
beside = tonumber(beside)
local function same(entry, raw)
  return raw and #entry == #raw + beside and string.find(entry, raw, 2, true) == 2
end
local there = redis.call('LRANGE', list, -n, -1)
local last = #there
local gone = 0
while gone < n and not same(ARGV[first_entry + gone], there[last]) do
  gone = gone + 1
end
local number, due = tonumber(next_number), lease()
local hash, scores, count = {}, {}, 0
while gone + count < n and same(ARGV[first_entry + gone + count], there[last - count]) do
  local claim = claim_prefix .. numbered(number + count)
  count = count + 1
  hash[2 * count - 1], hash[2 * count] = claim, ARGV[first_entry + gone + count - 1]
  scores[2 * count - 1], scores[2 * count] = due, claim
end
if count > 0 then
  -- In this order, because every recovery removes an index entry without a message. A step
  -- that fails undoes the ones before it.
  redis.call('ZADD', index, unpack(scores))
  local entered = redis.pcall('HSET', unacked, unpack(hash))
  if not failed(entered) then
    entered = redis.pcall('LTRIM', list, 0, -1 - count)
  end
  if failed(entered) then
    unenter(unacked, index, hash)
    raise(entered)
  end
end
return {gone, count}
