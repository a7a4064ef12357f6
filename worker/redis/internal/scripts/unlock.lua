-- Releases the lock around a recovery scan if this worker still holds it.
-- KEYS: lock  ARGV: token
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
