-- Lists dead letters behind one, the newest first. Letters that come and go do not move the others.
-- KEYS: one or two indexes
-- ARGV: score and id of the last letter of the page before ("+inf" and "" for the first page), how
--       many
-- Returns ids and scores, in turn.
local score, id, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local found = {}

for _, key in ipairs(KEYS) do
  local n, offset, rows = 0, 0, nil
  repeat -- many letters may have the score of one script
    rows = redis.call('ZREVRANGEBYSCORE', key, score, '-inf', 'WITHSCORES', 'LIMIT', offset, most)
    for i = 1, #rows, 2 do
      if n < most and (rows[i + 1] ~= score or rows[i] < id) then
        n = n + 1
        found[#found + 1] = {rows[i], rows[i + 1]}
      end
    end
    offset = offset + most
  until n == most or #rows == 0
end

table.sort(found, function(a, b)
  local first, second = tonumber(a[2]), tonumber(b[2])
  if first ~= second then
    return first > second
  end
  return a[1] > b[1]
end)
local flat = {}
for i = 1, math.min(most, #found) do
  flat[#flat + 1] = found[i][1]
  flat[#flat + 1] = found[i][2]
end
return flat
