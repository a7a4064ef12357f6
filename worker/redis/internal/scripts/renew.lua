-- Renews the leases of claims. A message in the unacked set belongs to the owner of its
-- claim alone.
-- KEYS: unacked, unacked_index, owner
-- ARGV: epoch, claims
-- Returns 1 if the owner is known, else 0, and the claims that are lost.
-- A server that has forgotten the owner has lost its data, and no other worker has reclaimed
-- its messages. A newer epoch is that of an unfinished registration, or of a peer that is
-- reclaiming the messages.
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
