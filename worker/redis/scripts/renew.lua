-- Renews the leases of claims; returns those that are not ours any more.
-- KEYS: unacked, unacked_index, owner
-- ARGV: epoch, claims
-- A server that has forgotten the owner has lost its data, and nobody has taken
-- over what we hold.
if redis.call('HGET', KEYS[3], 'epoch') ~= ARGV[1] then
  return redis.error_reply('STALECLAIM the owner is not known')
end
local t = now()
local scores, gone = {}, {}
for i = 2, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    scores[#scores + 1] = t
    scores[#scores + 1] = ARGV[i]
  else
    gone[#gone + 1] = ARGV[i]
  end
end
if #scores > 0 then
  redis.call('ZADD', KEYS[2], 'XX', unpack(scores))
end
return gone
