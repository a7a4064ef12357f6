-- Renews the leases of claims; returns those that are not ours any more.
-- KEYS: unacked, unacked_index
-- ARGV: claims
local t = now()
local scores, gone = {}, {}
for _, claim in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], claim) == 1 then
    scores[#scores + 1] = t
    scores[#scores + 1] = claim
  else
    gone[#gone + 1] = claim
  end
end
if #scores > 0 then
  redis.call('ZADD', KEYS[2], 'XX', unpack(scores))
end
return gone
