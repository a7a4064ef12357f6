-- Removes an owner without claims from the owners, unless it is back.
-- KEYS: owners, owner
-- ARGV: owner, seconds of silence after which it is dead, "1" when it can't come back
-- An owner that may come back keeps its epoch until that expires. Without it, the owner would
-- take its losses for a loss of data (renew.lua).
if beats(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[2])
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
