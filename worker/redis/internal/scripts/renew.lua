-- Renews the leases of claims. What is in the books under a claim is its owner's,
-- whatever else is known.
-- KEYS: unacked, unacked_index, owner
-- ARGV: epoch, claims
-- Returns 1 if the owner is known, else 0, and the claims that are not ours any more.
-- A server that has forgotten the owner has lost its data, and nobody has taken over
-- what we hold. A newer epoch is that of a registration that is not done yet, or of
-- a peer that has given the owner up.
local due = lease()
local epoch = redis.pcall('HGET', KEYS[3], 'epoch')
if failed(epoch) then
  if not unusable(epoch) then
    raise(epoch)
  end
  epoch = false
end
local scores, gone = {}, {}
for i = 2, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    scores[#scores + 1] = due
    scores[#scores + 1] = ARGV[i]
  else
    gone[#gone + 1] = ARGV[i]
  end
end
-- Also where the index has lost them, as when a person has removed a key of another type.
if #scores > 0 then
  redis.call('ZADD', KEYS[2], unpack(scores))
end
return {epoch and (tonumber(epoch) or 0) >= tonumber(ARGV[1]) and 1 or 0, gone}
