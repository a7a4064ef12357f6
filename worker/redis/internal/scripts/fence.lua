-- Ends the epoch of a silent owner. Claims of it that are still on their way are refused from
-- now on, and it learns of its losses when it comes back.
-- KEYS: owners, owner
-- ARGV: owner, seconds of silence after which it is dead
-- Returns 0 when it is alive, or was dismissed before.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) or beats(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
-- Only an existing key, because a new one would never expire. With a key of another type no
-- claim of the owner is carried out.
local epoch = redis.pcall('HGET', KEYS[2], 'epoch')
if failed(epoch) then
  if not unusable(epoch) then
    raise(epoch)
  end
elseif tonumber(epoch or '') then
  redis.call('HSET', KEYS[2], 'epoch', tonumber(epoch) + 1)
end
return 1
