-- Reads messages at one end of a list, without taking them.
-- KEYS: list
-- ARGV: "0" for the newest or "-1" for the oldest end, number of messages, bytes of all
-- Returns {size, message} of each, beginning at the end. A message for which no bytes are
-- left is "".
local from, most, left = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local found = {}
for i = 0, most - 1 do
  local raw = redis.call('LINDEX', KEYS[1], from == 0 and i or -1 - i)
  if not raw then
    break
  end
  local size = #raw
  if size > left then
    raw = ''
  end
  left = left - #raw
  found[i + 1] = {size, raw}
end
return found
