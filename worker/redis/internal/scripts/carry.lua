-- Carries out changes that belong together, and settles a delivery with them unless a
-- chord must be completed first.
-- KEYS: see below; unacked stands for none.
-- ARGV: see below, then operations. claim is "" for none, token names claims on chords,
--       settles and redelivered are "1" or "0", and "" omits a message.
-- Operations, each its name and its operands. They hold keys, because there are as many as
-- needed:
--   own key value expires success   the result of the delivery itself
--   store key value expires         another result
--   set key value expires           without an announcement
--   size base value expires         the size of a chord; begins a new run of it
--   sized base value expires        the size of a chord, from its messages
--   join base n expires             further members
--   push list message
--   bury message meta               a message without a destination
--   member base score entry id expires result   counts a chord member, unless result is
--       the key of a failure; "" for none
--   body base failed life ... end   what follows a chord, if this delivery completes it
--   record, then a key if the run has succeeded, else "", a number of arguments, and operations
--       of record.lua
-- A chord has the keys base .j (entries), .s (size), .t (further members), .d (counted
-- members), .c (the claim that completes it, or "done"), as in Celery 5.7.
-- Returns {0} when the claim is lost. Else it returns {1, {}, broken, again} when the delivery is
-- settled, or {2, chords, broken, again} when it is not. Each chord is {base, number of the
-- member, "complete" or "busy", saved structure, entries}. broken are the bases of chords that
-- cannot be counted. again is 1 when the step was carried out before, else 0.

local unacked, index, dead, dead_meta, dead_index, step_key, crashes, requeue_list = unpack(KEYS, 1, 8)
local claim, token, step, settles, ordered, claim_life, requeue, dead_raw, dead_entry, dead_id, dead_max, dead_age,
  redelivered = unpack(ARGV, 1, 13)
local first = 14 -- operation
step, settles, ordered, redelivered = tonumber(step), settles == '1', ordered == '1', redelivered == '1'

-- The mark of a delivery without a claim whose steps are all done: no acknowledgement would
-- show that.
local all_steps = 1000000

local width = {own = 4, store = 3, set = 3, size = 3, sized = 3, join = 3, push = 2, bury = 2, member = 6, body = 3}
width['end'] = 0

-- behind returns where the operation behind one begins.
local function behind(i)
  if ARGV[i] == 'record' then
    return i + 3 + ARGV[i + 2]
  end
  return i + 1 + width[ARGV[i]]
end

local held = claim == '' or redis.call('HEXISTS', unacked, claim) == 1

if not held then
  -- A SUCCESS counts even when another worker has the message.
  local own = ARGV[first] == 'own' and ARGV[first + 4] == '1'
  local i, once = first, ''
  while ARGV[i] do
    if ARGV[i] == 'record' and unrecorded(ARGV[i + 1], ARGV[first + 1], ARGV[first + 2]) then
      once = ARGV[i + 1]
      record({{i + 3, ARGV[i + 2], false}})
    end
    i = behind(i)
  end
  if not (own and store(ARGV[first + 1], ARGV[first + 2], ARGV[first + 3])) and once ~= '' then
    redis.pcall('SET', once, '1', 'EX', once_life)
  end
  return {0}
end

-- A step that was carried out, and whose reply got lost, only looks at its chords again.
local before = redis.pcall('GET', step_key)
if failed(before) then
  if not unusable(before) then
    raise(before)
  end
  before = false
end
local again = before and (tonumber(before) or -1) >= step

-- chord_fault notes the error of one chord. Keys of another type, as when peers differ
-- in result_chord_ordered, break their own chord and nothing else.
local faults = {}
local function chord_fault(base, err)
  if not unusable(err) then
    raise(err)
  end
  faults[base] = true
end

-- The functions for chords are created only for chords: most calls have none, and Redis
-- creates all functions anew at every call.
local count, completion, owner_of

local function make_chords()
  -- id of an entry in JSON, such as [1, "id", "SUCCESS", 3]
  local function entry_id(entry)
    return string.match(entry, '^%[%s*1%s*,%s*(".-")%s*,%s*"%u+"')
  end

  local function entries(base)
    if ordered then
      return redis.call('ZRANGE', base .. '.j', 0, -1)
    end
    return redis.call('LRANGE', base .. '.j', 0, -1)
  end

  -- counted tells whether a member is among the entries. Workers before Celery
  -- 5.7 do not keep .d, so the entry itself counts too.
  local function counted(base, score, entry, id)
    if redis.call('SISMEMBER', base .. '.d', id .. ':' .. score) == 1 then
      return true
    end
    local same = {}
    if ordered then
      same = redis.call('ZRANGEBYSCORE', base .. '.j', score, score)
    elseif redis.call('EXISTS', base .. '.d') == 0 then
      same = entries(base)
    end
    local json = entry_id(entry)
    for _, other in ipairs(same) do
      if entry_id(other) == json then
        return true
      end
    end
    return false
  end

  count = function(base, score, entry, id, expires)
    if over(base, redelivered) then
      return
    end
    local mark = id .. ':' .. score
    if not counted(base, score, entry, id) then
      if ordered then
        redis.call('ZADD', base .. '.j', score, entry)
        did('ZREM', base .. '.j', entry)
      else
        redis.call('RPUSH', base .. '.j', entry)
        did('LTRIM', base .. '.j', 0, -2)
      end
    end
    if redis.call('SADD', base .. '.d', mark) == 1 then
      did('SREM', base .. '.d', mark)
    end
    if expires > 0 then
      for _, suffix in ipairs({'.j', '.t', '.s', '.d'}) do
        redis.call('EXPIRE', base .. suffix, expires)
      end
    end
  end

  -- owner_of returns who completes a chord, false for none.
  owner_of = function(base)
    local owner = redis.pcall('GET', base .. '.c')
    if failed(owner) then
      if not unusable(owner) then
        raise(owner)
      end
      return false
    end
    return owner
  end

  -- completion returns the state of a chord for the member that was counted last:
  -- nil, or "busy" or "complete", with the entries of all members, each once, and the saved
  -- structure of the group.
  completion = function(base)
    local size = tonumber(redis.call('GET', base .. '.s') or '')
    local owner = owner_of(base)
    if not size or owner == 'done' then
      return nil
    end
    size = size + tonumber(redis.call('GET', base .. '.t') or '0')
    local n = ordered and redis.call('ZCARD', base .. '.j') or redis.call('LLEN', base .. '.j')
    if n < size then
      return nil
    end
    -- A member that ran twice with two results was counted twice by workers
    -- before Celery 5.7.
    local all, seen, distinct = entries(base), {}, {}
    for _, entry in ipairs(all) do
      local key = entry_id(entry) or entry
      if ordered then
        key = key .. ':' .. redis.call('ZSCORE', base .. '.j', entry)
      end
      if not seen[key] then
        seen[key] = true
        distinct[#distinct + 1] = entry
      end
    end
    if #distinct < size then
      return nil
    end
    if owner and owner ~= token then
      -- One of our kind that has lost its claim on the message will never end it.
      if not string.find(owner, ':', 1, true) or redis.call('HEXISTS', unacked, owner) == 1 then
        return 'busy', {}, redis.call('GET', base) or ''
      end
    end
    redis.call('SET', base .. '.c', token, 'EX', claim_life)
    return 'complete', distinct, redis.call('GET', base) or ''
  end
end

-- First pass: find the bodies, the operations of bodies that another delivery publishes, and
-- members that have failed before.
local left_out, bodies = {}, {}
local i, skip = first, false
while ARGV[i] do
  local op, base = ARGV[i], ARGV[i + 1]
  if not count and (op == 'member' or op == 'body') then
    make_chords()
  end
  if op == 'member' and ARGV[i + 6] ~= '' then
    local head = redis.pcall('GETRANGE', ARGV[i + 6], 0, 63)
    if failed(head) and not unusable(head) then
      raise(head)
    end
    local status = not failed(head) and string.match(head, '^%s*{%s*"status"%s*:%s*"(%u+)"')
    left_out[i] = status == 'FAILURE' or status == 'REVOKED'
  elseif op == 'body' and not again then
    local owner = owner_of(base)
    skip = redis.call('EXISTS', base .. '.s') == 0 or owner and owner ~= token
    if not skip then
      bodies[#bodies + 1] = i
    end
  elseif op == 'end' then
    skip = false
  end
  if skip then
    left_out[i] = true
  end
  i = behind(i)
end

if settles and claim ~= '' then
  ready(unacked, index, claim)
end
-- The same for the keys of chords that get their bodies.
for _, at in ipairs(bodies) do
  local base = ARGV[at + 1]
  redis.call('SET', base .. '.c', token, 'EX', claim_life)
  redis.call('DEL', base .. '?')
end

local grave = grave_of(dead, dead_meta, dead_index, dead_max, dead_age)
local pushes, number, once = 0, 0, ''
local touched, order, begun, results = {}, {}, {}, {}
local chords, broken = {}, {}

local ok, err = pcall(function()
  -- Second pass: the operations that can be taken back, or may be carried out twice.
  local i = first
  while ARGV[i] do
    local op = ARGV[i]
    if op == 'member' then
      local base = ARGV[i + 1]
      number = number + 1
      if not left_out[i] then
        if not touched[base] then
          order[#order + 1] = base
        end
        touched[base] = number
      end
    end
    if again or left_out[i] then -- nothing
    elseif op == 'own' or op == 'store' then
      results[#results + 1] = i
    elseif op == 'push' then
      local list, message = ARGV[i + 1], ARGV[i + 2]
      pushes = pushes + 1
      push(list, message, grave, token .. '.' .. step .. '.' .. pushes)
    elseif op == 'member' then
      local base, score, entry, id, expires = unpack(ARGV, i + 1, i + 5)
      local ok, err = pcall(count, base, score, entry, id, tonumber(expires))
      if not ok then
        chord_fault(base, err)
      end
    elseif op == 'set' then
      local key, value, expires = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
      set(key, value, expires)
    elseif op == 'size' then
      local base, value, expires = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
      begun[base] = true
      set(base .. '.s', value, expires)
      redis.call('DEL', base .. '.c')
    elseif op == 'sized' then
      -- Members carry the size before Celery 5.1, which stores it. A member that comes
      -- when the chord is over does not begin a new run.
      local base, value, expires = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
      if redis.call('EXISTS', base .. '.s', base .. '.c') == 0 then
        set(base .. '.s', value, expires)
      end
    elseif op == 'join' then
      local base, n, expires = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
      local joined = redis.pcall('INCRBY', base .. '.t', n)
      if failed(joined) then
        chord_fault(base, joined)
      else
        if joined == tonumber(n) then
          did('DEL', base .. '.t')
        else
          did('INCRBY', base .. '.t', -n)
        end
        if tonumber(expires) > 0 then
          redis.call('EXPIRE', base .. '.t', expires)
        end
      end
    elseif op == 'bury' then
      local message, meta = ARGV[i + 1], ARGV[i + 2]
      pushes = pushes + 1
      bury(grave, token .. '.' .. step .. '.' .. pushes, message, meta)
    elseif op == 'record' then
      record({{i + 3, ARGV[i + 2], true}}, did)
      once = ARGV[i + 1]
    end
    i = behind(i)
  end
  -- The chords that this step completes, or waits for.
  for _, base in ipairs(order) do
    local ok, state, members, saved = pcall(completion, base)
    if not ok then
      chord_fault(base, state)
    end
    if faults[base] then
      broken[#broken + 1] = base
    elseif state then
      chords[#chords + 1] = {base, touched[base], state, saved, members}
    end
  end
  -- The message of the delivery, or the mark that the step was carried out.
  local mark
  if #chords > 0 then
    settles, mark = false, step
  elseif settles and not (claim == '' and again) then
    if dead_raw ~= '' then
      bury(grave, dead_id, dead_raw, dead_entry)
    end
    if requeue ~= '' then
      push(requeue_list, requeue, grave, token .. '.back')
    end
    if claim == '' then
      mark = all_steps
    end
  end
  if mark then
    redis.call('SET', step_key, mark, 'EX', 86400)
    if before then
      did('SET', step_key, before, 'EX', 86400)
    else
      did('DEL', step_key)
    end
  end
  -- Last, because an announcement cannot be undone.
  for _, at in ipairs(results) do
    local key, value, expires = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    if store(key, value, expires) and ARGV[at] == 'own' then
      once = ''
    end
  end
  if once ~= '' then
    redis.pcall('SET', once, '1', 'EX', once_life)
  end
end)
if not ok then
  undo(err)
end

-- The rest cannot fail, or its failure does no harm.
for _, at in ipairs(bodies) do
  local base, body_failed, life = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if body_failed == '1' then
    redis.call('DEL', base .. '.s')
  elseif begun[base] then -- the chord begins anew
    redis.call('DEL', base .. '.j', base .. '.t', base .. '.d')
  else
    redis.call('DEL', base .. '.j', base .. '.t', base .. '.s', base .. '.d')
    redis.call('SET', base .. '.c', 'done', 'EX', life)
  end
end
if settles and claim ~= '' then
  redis.call('ZREM', index, claim)
  redis.call('HDEL', unacked, claim)
  redis.pcall('DEL', step_key)
end
if settles and crashes ~= unacked and not (claim == '' and again) then
  forget(crashes, requeue ~= '' and claim)
end
prune(grave)
return {#chords > 0 and 2 or 1, chords, broken, again and 1 or 0}
