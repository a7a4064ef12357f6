-- Stores the heartbeat of an owner, and returns the owners that are silent.
-- KEYS: owners, owner
-- ARGV: owner, seconds of silence after which an owner is dead, beginning of the keys
--       of owners
local t = now()
redis.call('EXPIRE', KEYS[2], 86400)
redis.call('ZADD', KEYS[1], t, ARGV[1])
redis.call('EXPIRE', KEYS[1], 86400)
local silent = {}
local quiet = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', t - tonumber(ARGV[2]), 'WITHSCORES')
for i = 1, #quiet, 2 do
  -- An owner with a longer timeout beats more slowly.
  local own = redis.pcall('HGET', ARGV[3] .. quiet[i], 'timeout')
  if tonumber(quiet[i + 1]) <= t - (tonumber(not failed(own) and own or '0') or 0) then
    silent[#silent + 1] = quiet[i]
  end
end
return silent
