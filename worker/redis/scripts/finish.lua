-- Ends many deliveries of which nothing is left but to store a result and to
-- acknowledge them. What settle.lua does for one, with fewer calls.
-- KEYS: unacked, unacked_index, then for each delivery its result; unacked stands
--       for none
-- ARGV: result expires, then for each delivery: claim, result value ("" for none),
--       "1" for a SUCCESS
-- Returns for each delivery 0 when the claim is not ours any more, else 1, or 2 when
-- nobody was there to hear of its result.
local n, expires = #KEYS - 2, tonumber(ARGV[1])
local held, acknowledged, results = {}, {}, {}
for i = 1, n do
  local claim, value = ARGV[3 * i - 1], ARGV[3 * i]
  held[i] = redis.call('HEXISTS', KEYS[1], claim)
  if held[i] == 1 then
    acknowledged[#acknowledged + 1] = claim
  end
  if value ~= '' and (held[i] == 1 or ARGV[3 * i + 1] == '1') then
    results[#results + 1] = i
  end
end
if #results > 0 then
  -- Mostly there is nothing yet that a result must not replace, and one question
  -- for all tells so. Two deliveries may be of the same task.
  local keys, twice = {}, {}
  local fresh = true
  for j, i in ipairs(results) do
    keys[j] = KEYS[i + 2]
    fresh = fresh and not twice[keys[j]]
    twice[keys[j]] = true
  end
  fresh = fresh and redis.call('EXISTS', unpack(keys)) == 0
  for j, i in ipairs(results) do
    local write = fresh and put or store
    if write(keys[j], ARGV[3 * i], expires) == 0 and held[i] == 1 then
      held[i] = 2
    end
  end
end
if #acknowledged > 0 then
  redis.call('ZREM', KEYS[2], unpack(acknowledged))
  redis.call('HDEL', KEYS[1], unpack(acknowledged))
end
return held
