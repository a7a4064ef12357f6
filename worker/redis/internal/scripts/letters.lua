-- Lists dead letters, the newest first, with their number at that moment.
-- KEYS: dead index
-- ARGV: number of the first one, number of the last one
-- Returns {how many in all, ids}.
return {redis.call('ZCARD', KEYS[1]), redis.call('ZREVRANGE', KEYS[1], ARGV[1], ARGV[2])}
