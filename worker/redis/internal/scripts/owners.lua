-- Functions of scripts that give back deliveries of others. They come behind those of
-- undo.lua.

-- beats tells whether an owner has said in time that it lives.
local function beats(owners, owner, timeout)
  local seen = redis.call('ZSCORE', owners, owner)
  return seen and tonumber(seen) > now() - tonumber(timeout)
end
