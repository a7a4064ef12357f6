-- Carries out changes that belong together, and ends a delivery with them unless
-- a chord is in the way.
-- KEYS: unacked, unacked_index, dead raws, dead metas, dead index, step, crashes,
--       list to requeue to; unacked stands for none
-- ARGV: claim ("" for none), token for claims on chords, number of the step, "1"
--       to end the delivery, "1" for ordered chords, life of a claim on a chord,
--       message to requeue, dead raw, dead meta, dead id, dead max, dead age, "1"
--       for a message that was delivered before, then operations. "" leaves a
--       part out.
-- Operations, each its name and its arguments; keys stand among them, as there
-- are as many as it takes:
--   own key value expires success   the result of the delivery itself
--   store key value expires         another result
--   set key value expires           without announcing it
--   size base value expires         of a chord; begins a new run of it
--   sized base value expires        of a chord whose size is in its messages
--   join base n expires             further members
--   push list message
--   bury message meta               a message that has nowhere to go
--   member base score entry id expires result   counts a chord member; unless
--       result is "" or the key of a result that is a failure already
--   body base failed done ... end   what follows a chord, if it is ours to do so
-- A chord is the keys base .j (entries), .s (size), .t (further members), .d
-- (who was counted), .c (who completes it, or "done"), as Celery 5.7 has them.
-- Returns {0} when the claim is not ours any more, else {1, {}, broken} when the
-- delivery has ended and {2, chords, broken} when it has not: each chord {base,
-- number of the member, "complete" or "busy", saved structure, entries}, and the
-- bases of chords that cannot be counted.

local unacked, claim, token = KEYS[1], ARGV[1], ARGV[2]
local ordered, claim_life = ARGV[5] == '1', ARGV[6]
local redelivered = ARGV[13] == '1'
local first = 14

local held = claim == '' or redis.call('HEXISTS', unacked, claim) == 1

if not held then
  -- Done is done: a SUCCESS counts even when the message went to another worker.
  if ARGV[first] == 'own' and ARGV[first + 4] == '1' then
    store(ARGV[first + 1], ARGV[first + 2], ARGV[first + 3])
  end
  return {0}
end

-- A step that was carried out and whose answer got lost only looks at its chords again.
local step = tonumber(ARGV[3])
local before = redis.pcall('GET', KEYS[6])
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

-- What concerns chords is made when there is one: most steps have none, and Redis makes
-- all functions anew at each call.
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

-- First pass: find the operations, the ones that are not ours, and which members have
-- failed before.
local width = {own = 4, store = 3, set = 3, size = 3, sized = 3, join = 3, push = 2, bury = 2, member = 6, body = 3}
width['end'] = 0
local left_out, bodies = {}, {}
local i, skip = first, false
while ARGV[i] do
  local op, base = ARGV[i], ARGV[i + 1]
  if not count and (op == 'member' or op == 'body') then
    make_chords()
  end
  if op == 'member' and ARGV[i + 6] ~= '' then
    local head = redis.pcall('GETRANGE', ARGV[i + 6], 0, 63)
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
  i = i + 1 + width[op]
end

local ends = ARGV[4] == '1'
if ends and claim ~= '' then
  ready(unacked, KEYS[2], claim)
end
-- The same for the keys of chords that have their bodies.
for _, at in ipairs(bodies) do
  local base = ARGV[at + 1]
  redis.call('SET', base .. '.c', token, 'EX', claim_life)
  redis.call('DEL', base .. '?')
end

local grave = grave_of(KEYS[3], KEYS[4], KEYS[5], ARGV[11], ARGV[12])
local pushes, number = 0, 0
local touched, order, begun, results = {}, {}, {}, {}
local chords, broken = {}, {}

local ok, err = pcall(function()
  -- Second pass: the operations that can be taken back, or may be carried out twice.
  local i = first
  while ARGV[i] do
    local op, a, b, c = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    if op == 'member' then
      number = number + 1
      if not left_out[i] then
        if not touched[a] then
          order[#order + 1] = a
        end
        touched[a] = number
      end
    end
    if again or left_out[i] then -- nothing
    elseif op == 'own' or op == 'store' then
      results[#results + 1] = i
    elseif op == 'push' then
      pushes = pushes + 1
      push(a, b, grave, token .. '.' .. step .. '.' .. pushes)
    elseif op == 'member' then
      local ok, err = pcall(count, a, b, c, ARGV[i + 4], tonumber(ARGV[i + 5]))
      if not ok then
        chord_fault(a, err)
      end
    elseif op == 'set' then
      set(a, b, c)
    elseif op == 'size' then
      begun[a] = true
      set(a .. '.s', b, c)
      redis.call('DEL', a .. '.c')
    elseif op == 'sized' then
      -- The members say it, where Celery since 5.1 stores it. A member that comes when the
      -- chord is over does not begin it anew.
      if redis.pcall('EXISTS', a .. '.s', a .. '.c') == 0 then
        set(a .. '.s', b, c)
      end
    elseif op == 'join' then
      local joined = redis.pcall('INCRBY', a .. '.t', b)
      if failed(joined) then
        chord_fault(a, joined)
      else
        if joined == tonumber(b) then
          did('DEL', a .. '.t')
        else
          did('INCRBY', a .. '.t', -b)
        end
        if tonumber(c) > 0 then
          redis.call('EXPIRE', a .. '.t', c)
        end
      end
    elseif op == 'bury' then
      pushes = pushes + 1
      bury(grave, token .. '.' .. step .. '.' .. pushes, a, b)
    end
    i = i + 1 + width[op]
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
  -- What ends the delivery, or keeps the step from being carried out twice.
  local mark
  if #chords > 0 then
    ends, mark = false, step
  elseif ends and not (claim == '' and again) then
    if ARGV[8] ~= '' then
      bury(grave, ARGV[10], ARGV[8], ARGV[9])
    end
    if ARGV[7] ~= '' then
      push(KEYS[8], ARGV[7], grave, token .. '.back')
    end
    if claim == '' then
      mark = 1000000 -- there is no claim whose end could tell that all of this was done
    end
  end
  if mark then
    redis.call('SET', KEYS[6], mark, 'EX', 86400)
    if before then
      did('SET', KEYS[6], before, 'EX', 86400)
    else
      did('DEL', KEYS[6])
    end
  end
  -- Last, as what was announced cannot be taken back.
  for _, at in ipairs(results) do
    store(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  end
end)
if not ok then
  undo(err)
end

-- Nothing of the rest can fail, or matters when it does.
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
if ends and claim ~= '' then
  redis.call('ZREM', KEYS[2], claim)
  redis.call('HDEL', unacked, claim)
  redis.pcall('DEL', KEYS[6])
end
if ends and KEYS[7] ~= unacked and not (claim == '' and again) then
  forget(KEYS[7], ARGV[7] ~= '' and claim)
end
prune(grave)
return {#chords > 0 and 2 or 1, chords, broken}
