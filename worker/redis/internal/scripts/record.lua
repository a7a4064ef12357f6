-- Functions of scripts that end a run, or set a mark. They follow those of lib.lua.

-- unrecorded tells whether a run whose claim is lost may still record: it has succeeded, and
-- its settlement was not carried out before, with a reply that got lost. once is "" unless it
-- has succeeded. Its own result shows that it was, or the key once.
local function unrecorded(once, result, value)
  return once ~= '' and redis.pcall('GET', result) ~= value and redis.pcall('EXISTS', once) ~= 1
end
local once_life = 3600

-- record carries out operations of the end of runs, each its name and its operands. They hold
-- keys, because a key of the call that the user must not write would end the script:
--   mark key text                       replaces a mark; text "" removes it. If the claim is
--       lost the mark becomes "settled": the run that has the message must learn of this one.
--       So that run does not replace it
--   free key run                        removes a mark that this run has set, if the claim is held
--   entry stream losses max n fields    appends an entry of n texts to a stream of at most max
-- blocks are {the first operation in ARGV, how many arguments, whether the claim is held}.
-- An entry that its stream refuses is counted in the hash losses. An error of the server
-- undoes the operations, and is raised. keep(command) notes the commands that undo them,
-- where the caller may fail later; nil for none.
local mark_life = 604800
local settled_mark = '0 7 settled' -- as mark.lua writes it, without a run

local function record(blocks, keep)
  local back, full, marks = {}, {}, {}
  local function note(...)
    back[#back + 1] = {...}
    if keep then
      keep(...)
    end
  end
  local function fail(reply)
    for i = #back, 1, -1 do
      redis.pcall(unpack(back[i]))
    end
    raise(reply)
  end
  -- A server that is full, or refuses to write at all, takes the entry later.
  local function later(reply)
    for _, code in ipairs({'OOM ', 'READONLY', 'MISCONF', 'NOREPLICAS', 'MASTERDOWN'}) do
      if string.find(reply.err, code, 1, true) then
        return true
      end
    end
  end
  -- lose counts entries that are lost. Its failure does no harm.
  local function lose(losses, why, n, text)
    redis.pcall('HINCRBY', losses, why, n)
    redis.pcall('HSET', losses, why .. '.at', redis.call('TIME')[1], why .. '.error', text)
  end
  for _, block in ipairs(blocks) do
    local i, stop = block[1], block[1] + block[2]
    while i < stop do
      if ARGV[i] == 'mark' then
        if not block[3] and ARGV[i + 2] == '' then
          ARGV[i + 2] = settled_mark
        end
        local stays = block[3] and ARGV[i + 2] ~= '' and redis.pcall('GET', ARGV[i + 1]) == settled_mark
        if not stays then
          marks[#marks + 1] = i
        end
        i = i + 3
      elseif ARGV[i] == 'free' then
        local value = block[3] and redis.pcall('GET', ARGV[i + 1])
        if failed(value) and not string.find(value.err, 'WRONGTYPE', 1, true) then
          fail(value)
        end
        local m, rest = string.match(type(value) == 'string' and value or '', '^(%d+) %d+ (.*)$')
        if m and string.sub(rest, 1, tonumber(m)) == ARGV[i + 2] then
          ARGV[i + 2] = ''
          marks[#marks + 1] = i
        end
        i = i + 3
      else
        local stream, losses, max, n = unpack(ARGV, i + 1, i + 4)
        local id = redis.pcall('XADD', stream, '*', unpack(ARGV, i + 5, i + 4 + n))
        if not failed(id) then
          note('XDEL', stream, id)
          full[stream] = {losses, tonumber(max)}
        elseif later(id) then
          fail(id)
        else
          lose(losses, 'refused', 1, id.err)
          note('HINCRBY', losses, 'refused', -1)
        end
        i = i + 5 + n
      end
    end
  end
  if #marks > 0 then -- whether the user may remove marks, before one is replaced
    local may = redis.pcall('DEL', ARGV[marks[1] + 1] .. '?')
    if failed(may) then
      fail(may)
    end
  end
  for _, i in ipairs(marks) do
    local key, text = ARGV[i + 1], ARGV[i + 2]
    local before = keep and redis.pcall('GET', key)
    local changed
    if text == '' then
      changed = redis.pcall('DEL', key)
    else
      changed = redis.pcall('SET', key, text, 'EX', mark_life)
    end
    if failed(changed) then
      fail(changed)
    end
    if type(before) == 'string' then
      note('SET', key, before, 'EX', mark_life)
    elseif text ~= '' then
      note('DEL', key)
    end
  end
  -- The oldest entries go last, because they cannot be brought back.
  for stream, at in pairs(full) do
    local length = redis.pcall('XLEN', stream)
    if not failed(length) and length > at[2] then
      local dropped = redis.pcall('XTRIM', stream, 'MAXLEN', '~', at[2])
      if not failed(dropped) and dropped > 0 then
        lose(at[1], 'full', dropped, '')
      end
    end
  end
end
