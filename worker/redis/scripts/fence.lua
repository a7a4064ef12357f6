-- Begins to give up an owner that is silent: a claim of its that is still on its way
-- is refused from here on, and it hears of its losses should it come back.
-- KEYS: owners, owner
-- ARGV: owner, seconds of silence after which it is dead
-- Returns 0 when it is alive after all, or was given up before.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) or beats(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
-- Only where it is: what is made anew would never expire.
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HINCRBY', KEYS[2], 'epoch', 1)
end
return 1
