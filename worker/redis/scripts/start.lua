-- Says that a claimed message begins to run.
-- KEYS: unacked, result, crashes
-- ARGV: claim, result value ("" for none), result expires, "1" to count
-- Returns the runs counted (-1 to begin with after a clean return), -1000 when
-- the claim is not ours any more.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return -1000
end
if ARGV[2] ~= '' then
  store(KEYS[2], ARGV[2], tonumber(ARGV[3]))
end
if ARGV[4] == '1' then
  local n = redis.call('INCR', KEYS[3])
  redis.call('EXPIRE', KEYS[3], 604800)
  return n
end
return 0
