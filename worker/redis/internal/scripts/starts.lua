-- Records that deliveries begin to run, each for the first time. It does the same as start.lua
-- with fewer calls.
-- KEYS: unacked, then for each delivery its result
-- ARGV: result expires, then for each delivery: claim, result value
-- Returns for each delivery 0 when the claim is lost, else 1.
local held = {}
for i = 1, #KEYS - 1 do
  held[i] = redis.call('HEXISTS', KEYS[1], ARGV[2 * i])
  if held[i] == 1 then
    store(KEYS[i + 1], ARGV[2 * i + 1], ARGV[1])
  end
end
return held
