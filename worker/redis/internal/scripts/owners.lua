-- Functions of scripts that give back deliveries of other workers. They follow those of
-- undo.lua.

-- beats tells whether the heartbeat of an owner is recent.
local function beats(owners, owner, timeout)
  local seen = redis.call('ZSCORE', owners, owner)
  return seen and tonumber(seen) > now() - tonumber(timeout)
end
