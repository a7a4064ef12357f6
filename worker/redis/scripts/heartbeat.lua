-- Says that the owner lives, and returns the owners that may be dead.
-- KEYS: owners, owner
-- ARGV: owner, seconds of silence after which an owner is dead
local t = now()
redis.call('ZADD', KEYS[1], t, ARGV[1])
redis.call('EXPIRE', KEYS[1], 86400)
redis.call('EXPIRE', KEYS[2], 86400)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', t - tonumber(ARGV[2]))
