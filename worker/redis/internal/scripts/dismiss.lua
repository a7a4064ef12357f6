-- Takes an owner that has nothing left off the list, unless it is back.
-- KEYS: owners, owner
-- ARGV: owner, seconds of silence after which it is dead, "1" when it can't come back
-- One that may come back keeps its epoch, for as long as that lives: else it would
-- take what it has lost for a loss of data. See renew.lua.
if beats(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[2])
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
