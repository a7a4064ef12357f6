-- Appends entries to a journal, if its head is the expected one.
-- KEYS: head, stream, losses
-- ARGV: expected head, new head, most entries, {number of texts, texts} for each entry
-- Returns {1, new head}, or {0, head} when another writer was faster. The oldest entries
-- beyond the limit are dropped and counted.
local head = redis.call('GET', KEYS[1]) or ''
if head ~= ARGV[1] then
  return {0, head}
end
local ids = {}
local function must(reply)
  if failed(reply) then
    for _, id in ipairs(ids) do
      redis.pcall('XDEL', KEYS[2], id)
    end
    raise(reply)
  end
  return reply
end
local i = 4
while i <= #ARGV do
  local n = tonumber(ARGV[i])
  ids[#ids + 1] = must(redis.pcall('XADD', KEYS[2], '*', unpack(ARGV, i + 1, i + n)))
  i = i + 1 + n
end
must(redis.pcall('SET', KEYS[1], ARGV[2]))
local dropped = redis.pcall('XTRIM', KEYS[2], 'MAXLEN', ARGV[3])
if not failed(dropped) and dropped > 0 then
  redis.pcall('HINCRBY', KEYS[3], 'full', dropped)
end
return {1, ARGV[2]}
