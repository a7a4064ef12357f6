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

local function expire(base, expires)
  if expires > 0 then
    for _, suffix in ipairs({'.j', '.t', '.s', '.d'}) do
      redis.call('EXPIRE', base .. suffix, expires)
    end
  end
end

local function count(base, score, entry, id, expires)
  if over(base, redelivered) then
    return
  end
  if not counted(base, score, entry, id) then
    if ordered then
      redis.call('ZADD', base .. '.j', score, entry)
    else
      redis.call('RPUSH', base .. '.j', entry)
    end
  end
  redis.call('SADD', base .. '.d', id .. ':' .. score)
  expire(base, expires)
end

-- completion returns the state of a chord for the member that was counted last:
-- nil, "busy", or "complete" with the entries of all members, each once.
local function completion(base)
  local size = tonumber(redis.call('GET', base .. '.s') or '')
  local owner = redis.call('GET', base .. '.c')
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
      return 'busy'
    end
  end
  redis.call('SET', base .. '.c', token, 'EX', claim_life)
  return 'complete', distinct
end

-- First pass: find the operations, and which members have failed before.
local width = {own = 4, store = 3, set = 3, size = 3, join = 3, push = 2, bury = 2, member = 6, body = 3}
width['end'] = 0
local i = first
local failed = {}
while ARGV[i] do
  if ARGV[i] == 'member' and ARGV[i + 6] ~= '' then
    local status = string.match(redis.call('GETRANGE', ARGV[i + 6], 0, 63), '^%s*{%s*"status"%s*:%s*"(%u+)"')
    failed[i] = status == 'FAILURE' or status == 'REVOKED'
  end
  i = i + 1 + width[ARGV[i]]
end

-- Second pass: carry them out. A step that was carried out and whose answer got
-- lost only looks at its chords again.
local step = tonumber(ARGV[3])
local again = redis.call('GET', KEYS[6])
again = again and tonumber(again) >= step
local grave = {KEYS[3], KEYS[4], KEYS[5], tonumber(ARGV[11]), tonumber(ARGV[12])}
local pushes = 0
local touched, order, faults = {}, {}, {}
local skip = false
local number = 0
i = first
while ARGV[i] do
  local op, a, b, c, d, e = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  if op == 'member' then
    number = number + 1
  end
  if op == 'body' then
    local owner = redis.call('GET', a .. '.c')
    skip = not again and (redis.call('EXISTS', a .. '.s') == 0 or (owner and owner ~= token))
    if not again and not skip then
      if b == '1' then
        redis.call('DEL', a .. '.s')
      else
        redis.call('DEL', a .. '.j', a .. '.t', a .. '.s', a .. '.d')
        redis.call('SET', a .. '.c', 'done', 'EX', c)
      end
    end
  elseif op == 'end' then
    skip = false
  elseif op == 'member' and not skip and not failed[i] then
    -- Keys of another type, as when peers differ in result_chord_ordered, break
    -- their own chord and nothing else.
    local ok, err = true, nil
    if not again then
      ok, err = pcall(count, a, b, c, d, tonumber(e))
    end
    if not touched[a] then
      order[#order + 1] = a
    end
    touched[a] = number
    if not ok then
      faults[a] = err
    end
  elseif not skip and not again then
    if op == 'own' or op == 'store' then
      store(a, b, c)
    elseif op == 'set' then
      if tonumber(c) > 0 then
        redis.call('SETEX', a, c, b)
      else
        redis.call('SET', a, b)
      end
    elseif op == 'size' then
      redis.call('DEL', a .. '.c')
      if tonumber(c) > 0 then
        redis.call('SETEX', a .. '.s', c, b)
      else
        redis.call('SET', a .. '.s', b)
      end
    elseif op == 'join' then
      redis.call('INCRBY', a .. '.t', b)
      if tonumber(c) > 0 then
        redis.call('EXPIRE', a .. '.t', c)
      end
    elseif op == 'push' then
      pushes = pushes + 1
      push(a, b, grave, token .. '.' .. step .. '.' .. pushes)
    elseif op == 'bury' then
      pushes = pushes + 1
      bury(grave[1], grave[2], grave[3], token .. '.' .. step .. '.' .. pushes, a, b, grave[4], grave[5])
    end
  end
  i = i + 1 + width[op]
end

local chords, broken = {}, {}
for _, base in ipairs(order) do
  local ok, state, members = pcall(completion, base)
  if not ok or faults[base] then
    broken[#broken + 1] = base
  elseif state then
    chords[#chords + 1] = {base, touched[base], state, redis.call('GET', base) or '', members or {}}
  end
end
if #chords > 0 then
  redis.call('SETEX', KEYS[6], 86400, step)
  return {2, chords, broken}
end
if ARGV[4] ~= '1' then
  return {1, {}, broken}
end
if claim == '' and again then
  return {1, {}, broken}
end

if ARGV[7] ~= '' then
  push(KEYS[8], ARGV[7], grave, token .. '.back')
end
if ARGV[8] ~= '' then
  bury(KEYS[3], KEYS[4], KEYS[5], ARGV[10], ARGV[8], ARGV[9], tonumber(ARGV[11]), tonumber(ARGV[12]))
end
if claim ~= '' then
  redis.call('ZREM', KEYS[2], claim)
  redis.call('HDEL', unacked, claim)
  redis.call('DEL', KEYS[6])
else
  -- There is no claim whose end could tell that all of this was done.
  redis.call('SETEX', KEYS[6], 86400, 1000000)
end
if KEYS[7] ~= unacked then
  redis.call('DEL', KEYS[7])
  if ARGV[7] ~= '' then
    uncount(KEYS[7], claim, true)
  end
end
return {1, {}, broken}
