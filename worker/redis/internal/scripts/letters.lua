-- Lists dead letters, the newest first, beside how many there are at that moment.
-- KEYS: dead index
-- ARGV: number of the first one, number of the last one
-- Returns {how many in all, ids}.
return {redis.call('ZCARD', KEYS[1]), redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[2])}
