-- Settles many deliveries that consist of a result, if any, and the acknowledgement. It does
-- the same as settle.lua with fewer calls.
-- KEYS: unacked, unacked_index, then for each delivery its result; unacked stands
--       for none
-- ARGV: result expires, then for each delivery: claim, result value ("" for none),
--       "1" for a SUCCESS, else "0", and behind it "+" when a result is probably there;
--       then, for some: number of the delivery, a key if its run has succeeded, else "" (see
--       record.lua), number of arguments, operations of record.lua
-- Returns for each delivery 0 when the claim is lost, else 1, or 2 when no client listened
-- for its result.
local n, expires = #KEYS - 2, ARGV[1]
local held, claims, lost, stored, unheard = {}, {}, {}, {}, {}
local at, records = 3 * n + 2, {}
while ARGV[at] do
  local i, once, size = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2])
  local holds = redis.call('HEXISTS', KEYS[1], ARGV[3 * i - 1]) == 1
  if holds or unrecorded(once, KEYS[i + 2], ARGV[3 * i]) then
    records[#records + 1] = {at + 3, size, holds, once, i}
  end
  at = at + 3 + size
end
for i = 1, n do
  local claim, value, kind = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  claims[i] = claim
  -- A SUCCESS is stored even when the claim is lost, so the claim need not be looked up.
  lost[i] = value ~= '' and string.sub(kind, 1, 1) ~= '1' and redis.call('HEXISTS', KEYS[1], claim) == 0
  if value ~= '' and not lost[i] then
    stored[i] = store(KEYS[i + 2], value, expires, #kind > 1)
    unheard[i] = stored[i] == 0
  end
end
if #records > 0 then
  redis.call('ZREM', KEYS[2], claims[1] .. '?') -- whether the acknowledgement will fail
  redis.call('HDEL', KEYS[1], claims[1] .. '?')
  record(records)
  for _, r in ipairs(records) do
    if r[4] ~= '' and not stored[r[5]] then
      redis.pcall('SET', r[4], '1', 'EX', once_life)
    end
  end
end
-- All results are stored before the first acknowledgement, because Redis undoes nothing of a
-- script that fails. Storing a result again is harmless.
local all = redis.call('ZREM', KEYS[2], unpack(claims)) == n
local ended
if all then
  ended = redis.pcall('HDEL', KEYS[1], unpack(claims))
end
for i = 1, n do
  held[i] = lost[i] and 0 or 1
  if not all and not failed(ended) then
    ended = redis.pcall('HDEL', KEYS[1], claims[i])
    held[i] = failed(ended) or math.min(held[i], ended)
  end
  if unheard[i] and held[i] == 1 then
    held[i] = 2
  end
end
if failed(ended) then -- as the first one: all are still unacknowledged
  for i = 1, n do
    if not lost[i] then
      redis.pcall('ZADD', KEYS[2], lease(), claims[i])
    end
  end
  raise(ended)
end
return held
