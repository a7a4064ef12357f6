-- Adds an answer to remote control to the list of the caller.
-- KEYS: list
-- ARGV: answer, seconds until the list is gone
redis.call('EXPIRE', KEYS[1], ARGV[2]) -- of earlier ones; and it fails before the answer is there
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
