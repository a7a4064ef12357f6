-- Takes a named lease, or renews it for the same owner.
-- KEYS: lease
-- ARGV: owner, milliseconds
-- Returns 1 if the owner holds the lease now, 0 while another one does.
local owner = redis.pcall('GET', KEYS[1])
if failed(owner) then
  if not unusable(owner) then
    raise(owner)
  end
  owner = false -- a key of another type is replaced
end
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
