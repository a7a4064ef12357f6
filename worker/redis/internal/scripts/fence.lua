-- Begins to give up an owner that is silent: a claim of its that is still on its way
-- is refused from here on, and it hears of its losses should it come back.
-- KEYS: owners, owner
-- ARGV: owner, seconds of silence after which it is dead
-- Returns 0 when it is alive after all, or was given up before.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) or beats(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
-- Only where it is: what is made anew would never expire.
-- Where it is something else, no claim of the owner is carried out anyway.
local epoch = redis.pcall('HGET', KEYS[2], 'epoch')
if failed(epoch) then
  if not unusable(epoch) then
    raise(epoch)
  end
elseif tonumber(epoch or '') then
  redis.call('HSET', KEYS[2], 'epoch', tonumber(epoch) + 1)
end
return 1
