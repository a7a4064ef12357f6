-- Says that claimed messages begin to run, each for the first time. What start.lua
-- does for one that was delivered before, with fewer calls.
-- KEYS: unacked, then for each delivery its result
-- ARGV: result expires, then for each delivery: claim, result value
-- Returns for each delivery 0 when the claim is not ours any more, else 1.
local held = {}
for i = 1, #KEYS - 1 do
  held[i] = redis.call('HEXISTS', KEYS[1], ARGV[2 * i])
  if held[i] == 1 then
    store(KEYS[i + 1], ARGV[2 * i + 1], ARGV[1])
  end
end
return held
