-- Moves messages from the lists to the unacked set, atomically.
-- KEYS: see below, then for each step the lists of all queues.
-- ARGV: see below, then for each of the queues: name, weight, mark (place in the line; with
--       weights the credit). Then the number of shapes, and the pattern of each. Then for
--       each message that the caller has judged: message, reason ("" for a good one),
--       completed message ("" when nothing is missing).
--       way is "turns", "order" or "weights", crashes_prefix begins the keys of crashes.
-- Returns the claimed {claim, list number, raw, crashes}, the dead {claim, list number,
-- reason, raw or its end}, the unsure {list number, raw}, the unreadable lists {number,
-- error}, and the marks for the next claim.
--
-- Unsure messages stay in their list. The caller judges them with a complete parser, and
-- claims again with the reasons.

local unacked, index, owner, dead_raws, dead_meta, dead_index = unpack(KEYS, 1, 6)
local epoch, claim_prefix, next_number, max, max_bytes, max_total, dead_max, dead_age, crashes_prefix, way,
  queues = unpack(ARGV, 1, 11)
local fixed_keys, fixed_args = 6, 11

-- A claim of an older epoch must not run when it arrives after all.
if redis.call('HGET', owner, 'epoch') ~= epoch then
  return redis.error_reply('STALECLAIM this claim was given up')
end

max_bytes, queues = tonumber(max_bytes), tonumber(queues)
local lists = #KEYS - fixed_keys
if redis.call('EXISTS', unpack(KEYS, fixed_keys + 1)) == 0 then -- nearly every claim of an idle worker
  local marks = {}
  for q = 1, queues do
    marks[q] = tonumber(ARGV[fixed_args + 3 * q])
  end
  return {{}, {}, {}, {}, marks}
end
local reasons, completed = {}, {}
local shapes = fixed_args + 3 * queues + 1 -- the place of their number in ARGV
local known = tonumber(ARGV[shapes])
for i = shapes + known + 1, #ARGV, 3 do
  reasons[ARGV[i]] = ARGV[i + 1]
  completed[ARGV[i]] = ARGV[i + 2] ~= '' and ARGV[i + 2] or nil
end

-- told is what the caller hears of a dead message, so that it can answer: all of it, or
-- the end of one that is very large. Every known producer writes the body first.
local function told(raw)
  if #raw > 4 * max_bytes then
    return string.sub(raw, -65536)
  end
  return raw
end

-- Beyond that many bytes a message is left to the complete parser of the caller:
-- the patterns of strict take 0.1 microseconds a byte, and block all other clients.
local max_strict = 16384
-- Up to that many bytes it is compared with the shapes first, at 13 nanoseconds a byte
-- and shape.
local max_shaped = 4096

local words = {['true'] = true, ['false'] = true, null = true, NaN = true, Infinity = true, e = true, E = true}

-- strict tells whether Python's parser accepts a message that the parser of Redis accepts.
-- The latter takes nan, 0x10, 007 and more for numbers, and ignores everything after a zero
-- byte. "No" only means that the caller must judge.
local function strict(raw)
  if #raw > max_strict then
    return false
  end
  -- One anchored pattern takes a fifth of the time of a search for forbidden bytes, and most
  -- messages have no escapes.
  if not string.find(raw, '^[ -~]*$') or string.find(raw, '__type__', 1, true) then
    return false
  end
  local bare = raw
  if string.find(raw, '\\', 1, true) then
    -- Escaped ASCII letters, which no producer writes, could spell a name that is looked for.
    if string.find(raw, '\\u00[2-7]') then
      return false
    end
    bare = string.gsub(raw, '\\.', '')
  end
  bare = string.gsub(bare, '"[^"]*"', '')
  for word in string.gmatch(bare, '%a+') do
    if not words[word] then
      return false
    end
  end
  if string.find(bare, '[^%d%.]0%d') or string.find(bare, '%.%D') or string.find(bare, '%D%.')
    or string.find(bare, '[^eE]%+') then
    return false
  end
  local _, containers = string.gsub(bare, '[%[{]', '')
  return containers < 200 and #bare < 4000
end

-- usual tells whether a message has the shape of one that the complete parser has accepted.
local function usual(raw)
  if #raw > max_shaped or string.find(raw, '\\', 1, true) then -- no shape has those
    return false
  end
  for i = shapes + 1, shapes + known do
    if string.find(raw, ARGV[i]) then
      return true
    end
  end
end

-- fine tells whether a Python worker could put raw back into its queue. Any other message
-- would crash Python workers, so it must never enter the unacked set.
local function fine(raw)
  if usual(raw) then
    return true
  end
  if not strict(raw) then
    return false
  end
  local ok, m = pcall(cjson.decode, raw)
  if not ok or type(m) ~= 'table' or type(m.body) ~= 'string' then
    return false
  end
  local p, h = m.properties, m.headers
  if type(p) ~= 'table' or h ~= nil and type(h) ~= 'table' then
    return false
  end
  -- An empty table may have been an object or an array. kombu accepts a message without
  -- headers.
  if h and (#h > 0 or next(h) == nil and not string.find(raw, '"headers"%s*:%s*{%s*}')) then
    return false
  end
  local d = p.delivery_info
  if p.priority == math.huge or p.priority == -math.huge then -- kombu would drop it
    return false
  end
  return type(p.delivery_tag) == 'string' and type(d) == 'table'
    and type(d.exchange) == 'string' and type(d.routing_key) == 'string'
end

-- crashes is the number of earlier deliveries of a message that were not settled.
local function crashes(raw)
  -- The name first, as text: a pattern takes four times as long.
  if not string.find(raw, '"redelivered"', 1, true) or not string.find(raw, '"redelivered"%s*:%s*true') then
    return 0
  end
  local ok, m = pcall(cjson.decode, raw)
  local id = ok and type(m.headers) == 'table' and m.headers.id
  if type(id) ~= 'string' then
    return 0
  end
  local tag = type(m.properties) == 'table' and m.properties.delivery_tag
  local n = redis.pcall('HGET', crashes_prefix .. id .. ':' .. tostring(tag or ''), 'n')
  if type(n) == 'table' then
    return 0
  end
  return tonumber(n or '0') + 1
end

-- entry joins texts, because encoding the message again would change numbers. The exchange is
-- always the anonymous one, so that a message goes back to its queue.
local behind = {}
local function entry(raw, queue)
  behind[queue] = behind[queue] or ', "", ' .. cjson.encode(queue) .. ']'
  return '[' .. raw .. behind[queue]
end

local number, left, budget = tonumber(next_number), tonumber(max), tonumber(max_total)
local claimed, dead, unsure, broken = {}, {}, {}, {}
local hash, scores, buried, taken, length = {}, {}, {}, {}, {}
local t, due = now(), lease()

-- waiting tells whether a list has a message that this claim has not taken.
local function waiting(i)
  if not length[i] then
    local n = redis.pcall('LLEN', KEYS[fixed_keys + i])
    if type(n) == 'table' then
      broken[#broken + 1] = {i, n.err}
      n = 0
    end
    length[i], taken[i] = n, 0
  end
  return length[i] > taken[i]
end

local names, weights, marks, line = {}, {}, {}, {}
for q = 1, queues do
  local at = fixed_args + 3 * q
  names[q], weights[q], marks[q] = ARGV[at - 2], tonumber(ARGV[at - 1]), tonumber(ARGV[at])
  if way ~= 'weights' then
    line[marks[q]] = q
  end
end

-- A list that was found empty stays empty while the script runs.
local step, steps_of = 0, {}

-- first returns the list of a queue that has its next message.
local function first(q)
  for s = steps_of[q] or 0, lists / queues - 1 do
    steps_of[q] = s
    if waiting(s * queues + q) then
      return s * queues + q
    end
  end
end

-- choose returns the list that gives the next message, nil when all are empty. With weights it
-- is the queue with most credit after each queue with messages has received its weight.
local function choose()
  if way == 'weights' then
    local best
    for q = 1, queues do
      if first(q) and (not best or marks[q] + weights[q] > marks[best] + weights[best]) then
        best = q
      end
    end
    return best and first(best)
  end
  while step < lists / queues do
    for _, q in ipairs(line) do
      if waiting(step * queues + q) then
        return step * queues + q
      end
    end
    step = step + 1
  end
end

-- chosen notes that a message was taken from a list. The credits that all queues receive are
-- taken from the chosen one, so that they stay in balance. A queue without messages
-- receives no credit.
local function chosen(i)
  local q = (i - 1) % queues + 1
  if way == 'weights' then
    for other = 1, queues do
      if first(other) then
        marks[other] = marks[other] + weights[other]
        marks[q] = marks[q] - weights[other]
      end
    end
  elseif way == 'turns' then
    for at, other in ipairs(line) do
      if other == q then
        table.remove(line, at)
        break
      end
    end
    line[queues] = q
  end
end

while left > 0 and budget > 0 do
  local i = choose()
  if not i then
    break
  end
  local key, queue, n = KEYS[fixed_keys + i], names[(i - 1) % queues + 1], taken[i]
  local raw = redis.call('LINDEX', key, -1 - n)
  local reason = reasons[raw]
  if #raw > max_bytes then
    reason = 'too-large'
  elseif not reason and fine(raw) then
    reason = ''
  end
  if not reason then
    -- The messages behind it may be unsure as well.
    repeat
      unsure[#unsure + 1] = {i, raw}
      budget = budget - #raw
      n = n + 1
      raw = redis.call('LINDEX', key, -1 - n)
    until not raw or #unsure >= left or budget <= 0 or #raw > max_bytes or reasons[raw] or fine(raw)
    break
  end
  chosen(i)
  local claim = claim_prefix .. numbered(number)
  number = number + 1
  taken[i] = n + 1
  left = left - 1
  budget = budget - #raw
  if reason ~= '' then
    buried[#buried + 1] = {claim, raw, cjson.encode({queue = queue, reason = reason, at = t, size = #raw})}
    dead[#dead + 1] = {claim, i, reason, told(raw)}
  else
    raw = completed[raw] or raw
    hash[#hash + 1] = claim
    hash[#hash + 1] = entry(raw, queue)
    scores[#scores + 1] = due
    scores[#scores + 1] = claim
    claimed[#claimed + 1] = {claim, i, raw, crashes(raw)}
  end
end

-- In this order, because every recovery removes an index entry without a message. A step that
-- fails undoes the ones before it.
local grave = grave_of(dead_raws, dead_meta, dead_index, dead_max, dead_age)
if #hash > 0 then
  redis.call('ZADD', index, unpack(scores))
end
local ok, err = pcall(function()
  if #hash > 0 then
    redis.call('HSET', unacked, unpack(hash))
  end
  for _, b in ipairs(buried) do
    bury(grave, b[1], b[2], b[3])
  end
  for i = 1, lists do
    if taken[i] and taken[i] > 0 then
      redis.call('LTRIM', KEYS[fixed_keys + i], 0, -1 - taken[i])
    end
  end
end)
if not ok then
  unenter(unacked, index, hash)
  undo(err)
end
prune(grave)
for at, q in ipairs(line) do
  marks[q] = at
end
return {claimed, dead, unsure, broken, marks}
