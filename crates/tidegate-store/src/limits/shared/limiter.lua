-- The limiter's counters in Redis or Valkey: the same arithmetic as crates/tidegate-policy/src/limits, for all replicas.
--
-- KEYS[1] is the anchor, `{prefix}`. All other keys begin with it, so that its braces keep them on one node of a cluster:
--   {prefix}:c:<scope>           a level: `f` calls in flight, `k` the periods that have budgets; for each period p of them
--                                `ps` its start, `pu` cost with what is held, `ph` what is held, `pt` the highest soft
--                                budget reported, `pg` when it was filled from the ledger, `pe` when it began: holds of
--                                an account that began anew since are none of it
--   {prefix}:w:<scope>:<what><p> a window: `s` its sum, `o` and `n` its oldest and newest slice, and the slices by number
--   {prefix}:h:<replica>         the calls in flight of a replica, each with all that it has taken
--   {prefix}:replicas            when each replica was last heard of
--   {prefix}:p:<scope>           what was spent at a level that is not here and may not be in the ledger either: by period,
--                                start and end; or by period, start, `u` and replica, with when the ledger had it
--   {prefix}:a:<id>              additions that were made already
--   {prefix}:era                 `i` the name of the era, `a` when it began, `n` how many replicas there were before, `o`
--                                that room may be given
--   {prefix}:write               nothing; written to see whether that can be done
--   {prefix}:joined              which of those have said what they hold
--
-- An era lasts until Redis loses what it knew. A command of another era does nothing: so every replica notices the loss with
-- its next word, comes into the new era, and brings along what its calls hold. No room is given before all have, or enough
-- time has passed for those that live.
--
-- ARGV[1] is a JSON list of operations. The answer is a JSON list with a list of strings for each of them. Numbers are
-- given and kept as text where they are money: Lua's numbers are exact up to 2^53 nano-dollars, nine million dollars.
-- Beyond that sums stay exact (HINCRBY), and only comparisons are rounded, by a millionth of a cent.

local SLICES = 60
local LENGTH = { s = 1000000, m = 60000000, h = 3600000000, d = 86400000000 }
-- Levels that nobody has called for so long are forgotten; the ledger is asked when they come back.
local FORGET_AFTER_SECONDS = 604800
-- Holds of a dead replica that are released at a time, so that nobody waits long for it.
local RELEASED_AT_A_TIME = 200

-- What ended so shortly before a level was filled from the ledger may not have stood there yet, so it is added: rather is
-- a moment's spending counted twice, once for each time that Redis was emptied, than not at all.
local LEDGER_LAG = 300000
-- What is told of spending that the ledger may not have; it is told again for as long as that is so.
local TOLD_FOR_SECONDS = 60

-- How long replicas have to say what they hold. Each that lives says something twice a second; one whose connection broke
-- with the old Redis needs a little longer.
local GATHERING = 2000000

local base = KEYS[1] .. ':'
local time = redis.call('TIME')
local seconds = tonumber(time[1])
local now = seconds * 1000000 + tonumber(time[2])

local function int(number)
  return string.format('%.0f', number)
end

local function number(text)
  return tonumber(text or '0') or 0
end

local function month_start()
  local day = math.floor(seconds / 86400)
  -- The calendar counted from 1 March, so that the leap day is the last of its year.
  local shifted = day + 719468
  local era = math.floor(shifted / 146097)
  local of_era = shifted % 146097
  local year_of_era = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  local march_month = math.floor((5 * of_year + 2) / 153)
  local day_of_month = of_year - math.floor((153 * march_month + 2) / 5)
  return (day - day_of_month) * 86400
end

local function period_start(period)
  if period == 'h' then return seconds - seconds % 3600 end
  if period == 'd' then return seconds - seconds % 86400 end
  if period == 'w' then return seconds - (seconds - 345600) % 604800 end
  if period == 'm' then return month_start() end
  return 0
end

-- A window as it is now, with what is too old taken out.
local function open_window(scope, what, per)
  local key = base .. 'w:' .. scope .. ':' .. what .. per
  local width = math.ceil(LENGTH[per] / SLICES)
  local window = { key = key, width = width, index = math.floor(now / width), per = per, sum = 0 }
  local state = redis.call('HMGET', key, 's', 'o', 'n')
  window.oldest = window.index
  window.newest = window.index
  if not state[1] then return window end
  local oldest, newest = number(state[2]), number(state[3])
  if newest - window.index > SLICES or newest < window.index - SLICES then
    -- Nothing of it is left; or the clock was set back so far that waiting for it would lock everybody out.
    redis.call('DEL', key)
    return window
  end
  window.index = math.max(window.index, newest)
  window.newest = newest
  window.sum = number(state[1])
  window.oldest = math.max(oldest, window.index - SLICES)
  if oldest < window.oldest then
    local old = {}
    for index = oldest, window.oldest - 1 do old[#old + 1] = int(index) end
    for _, amount in ipairs(redis.call('HMGET', key, unpack(old))) do
      window.sum = window.sum - number(amount)
    end
    redis.call('HDEL', key, unpack(old))
    redis.call('HSET', key, 's', int(window.sum), 'o', int(window.oldest))
  end
  return window
end

local function add(window, index, amount)
  if amount == 0 then return end
  window.oldest = math.min(window.oldest, index)
  window.newest = math.max(window.newest, index)
  window.sum = window.sum + amount
  redis.call('HINCRBY', window.key, int(index), int(amount))
  redis.call('HSET', window.key, 's', int(window.sum), 'o', int(window.oldest), 'n', int(window.newest))
  redis.call('PEXPIRE', window.key, int(LENGTH[window.per] / 500))
end

-- Microseconds until the slice is out of the window.
local function gone_after(window, index)
  return math.max(0, (index + SLICES + 1) * window.width - now)
end

local function until_room(window, excess)
  local slices = {}
  for index = window.oldest, window.newest do slices[#slices + 1] = int(index) end
  for place, amount in ipairs(redis.call('HMGET', window.key, unpack(slices))) do
    excess = excess - number(amount)
    if excess <= 0 then return gone_after(window, window.oldest + place - 1) end
  end
  return LENGTH[window.per]
end

-- What was spent that the ledger did not have when it was asked.
local function add_waiting(key, scope, period, start, asked_at)
  local waiting = redis.call('HGETALL', base .. 'p:' .. scope)
  for place = 1, #waiting, 2 do
    local its_period, its_start, kind, ended = string.match(waiting[place], '^(%a):(%d+):(u?):?(.*)$')
    if its_period == period and its_start == start then
      if kind == 'u' then
        local cost, written = string.match(waiting[place + 1], '^(%d+):(%d+)$')
        if number(written) == 0 or number(written) >= asked_at then
          redis.call('HINCRBY', key, period .. 'u', cost)
        end
      elseif number(ended) + LEDGER_LAG >= now then
        redis.call('HINCRBY', key, period .. 'u', waiting[place + 1])
      end
    end
  end
end

-- A level as it is now: its windows and accounts opened, filled from the ledger where they were not there. `nil`, when
-- the ledger has to be asked first.
local function open_level(level)
  local opened = { key = base .. 'c:' .. level.s, r = {}, t = {}, b = {}, level = level }
  local periods = {}
  for _, budget in ipairs(level.b) do periods[budget[1]] = true end
  local known = redis.call('HGET', opened.key, 'k')
  if not known and not level.seed then return nil end
  for period in pairs(periods) do
    if not level.seed and not string.find(known, period, 1, true) then return nil end
  end

  for _, what in ipairs({ 'r', 't' }) do
    for place, limit in ipairs(level[what]) do
      local window = open_window(level.s, what, limit[2])
      if not known and window.sum == 0 then
        for _, calls in ipairs(level.seed.recent) do
          local slice = math.floor((now - calls[1] * 1000) / window.width)
          if slice >= window.index - SLICES then add(window, slice, what == 'r' and calls[2] or calls[3]) end
        end
      end
      opened[what][place] = window
    end
  end

  local kept = ''
  for period in string.gmatch(known or '', '.') do
    if periods[period] then
      kept = kept .. period
    else
      -- What is spent without a budget is not counted here, so this would be wrong when the budget comes back.
      redis.call('HDEL', opened.key, period .. 's', period .. 'u', period .. 'h', period .. 't', period .. 'g',
        period .. 'e')
    end
  end
  for period in pairs(periods) do
    local start = period_start(period)
    if not string.find(kept, period, 1, true) then
      kept = kept .. period
      local seed = level.seed[period]
      local used = number(seed[1]) == start and seed[2] or '0'
      -- Calls in flight may have been brought along already.
      local brought = redis.call('HMGET', opened.key, period .. 's', period .. 'h', period .. 'e')
      local is_here = brought[1] == int(start)
      local held = is_here and brought[2] or '0'
      redis.call('HSET', opened.key, period .. 's', int(start), period .. 'u', used, period .. 'h', held,
        period .. 't', used, period .. 'g', int(now), period .. 'e', is_here and brought[3] or int(now))
      redis.call('HINCRBY', opened.key, period .. 'u', held)
      add_waiting(opened.key, level.s, period, int(start), number(level.seed.a))
    end
  end
  if kept ~= known then redis.call('HSET', opened.key, 'k', kept) end

  for place, budget in ipairs(level.b) do
    local period = budget[1]
    local start = period_start(period)
    local state = redis.call('HMGET', opened.key, period .. 's', period .. 'u', period .. 'h', period .. 't',
      period .. 'g', period .. 'e')
    if number(state[1]) < start then
      redis.call('HSET', opened.key, period .. 's', int(start), period .. 'u', '0', period .. 'h', '0',
        period .. 't', '-1')
      state = { int(start), '0', '0', '-1', state[5], state[6] }
    end
    opened.b[place] = { period = period, start = state[1], used = state[2], held = state[3], told = state[4],
      began = state[6] or state[5], usd = budget[2], is_hard = budget[3] == 1 }
  end
  opened.in_flight = number(redis.call('HGET', opened.key, 'f'))
  return opened
end

-- Why there is no room, or nothing.
local function shortage(opened, tokens, cost)
  for place, account in ipairs(opened.b) do
    if account.is_hard and number(account.used) + cost > number(account.usd) then
      return { 'b', int(place), account.used, account.held, account.start }
    end
  end
  for _, what in ipairs({ 'r', 't' }) do
    for place, window in ipairs(opened[what]) do
      local max = opened.level[what][place][1]
      local amount = 1
      if what == 't' then amount = max > 0 and math.min(tokens, max) or tokens end
      if window.sum + amount > max then
        return { what, int(place), int(until_room(window, window.sum + amount - max)) }
      end
    end
  end
  if opened.level.f >= 0 and opened.in_flight >= opened.level.f then return { 'f', '0' } end
end

-- Takes the room; returns what has to be known to give it back.
local function take(opened, tokens, cost)
  local taken = { k = opened.key, r = {}, t = {}, b = {} }
  opened.in_flight = opened.in_flight + 1
  redis.call('HINCRBY', opened.key, 'f', 1)
  local counted = {}
  for _, account in ipairs(opened.b) do
    local settled = number(account.used) - number(account.held)
    local usd = number(account.usd)
    if not account.is_hard and settled > 0 and settled >= usd and usd > number(account.told) then
      account.is_crossed = true
      redis.call('HSET', opened.key, account.period .. 't', account.usd)
    end
    -- Several budgets for one period share an account.
    if not counted[account.period] then
      counted[account.period] = true
      redis.call('HINCRBY', opened.key, account.period .. 'u', cost)
      redis.call('HINCRBY', opened.key, account.period .. 'h', cost)
      taken.b[#taken.b + 1] = { account.period, account.start, account.began }
    end
    account.used = redis.call('HGET', opened.key, account.period .. 'u')
    account.held = redis.call('HGET', opened.key, account.period .. 'h')
  end
  for place, window in ipairs(opened.r) do
    add(window, window.index, 1)
    taken.r[place] = { window.key, int(window.index) }
  end
  for place, window in ipairs(opened.t) do
    local max = opened.level.t[place][1]
    local amount = max > 0 and math.min(tokens, max) or tokens
    add(window, window.index, amount)
    taken.t[place] = { window.key, int(window.index), int(amount) }
  end
  redis.call('EXPIRE', opened.key, FORGET_AFTER_SECONDS)
  return taken
end

-- What is left, in the order of the level's limits.
local function describe(opened, answer)
  local function say(value) answer[#answer + 1] = value end
  for _, what in ipairs({ 'r', 't' }) do
    for _, window in ipairs(opened[what]) do
      say(int(window.sum))
      say(window.sum > 0 and int(gone_after(window, window.newest)) or '0')
    end
  end
  for _, account in ipairs(opened.b) do
    say(account.used)
    say(account.held)
    say(account.start)
    say(account.is_crossed and '1' or '0')
  end
  say(int(opened.in_flight))
end

local function correct(key, slice, difference)
  if difference ~= 0 and redis.call('HEXISTS', key, slice) == 1 then
    redis.call('HINCRBY', key, slice, int(difference))
    redis.call('HINCRBY', key, 's', int(difference))
  end
end

local function settle_hold(hold, tokens, cost, is_used)
  for _, taken in ipairs(hold.l) do
    if number(redis.call('HGET', taken.k, 'f')) > 0 then redis.call('HINCRBY', taken.k, 'f', -1) end
    for _, window in ipairs(taken.r) do
      if not is_used then correct(window[1], window[2], -1) end
    end
    for _, window in ipairs(taken.t) do
      correct(window[1], window[2], (is_used and tokens or 0) - number(window[3]))
    end
    for _, account in ipairs(taken.b) do
      local period = account[1]
      local state = redis.call('HMGET', taken.k, period .. 's', period .. 'g', period .. 'e')
      if state[1] == account[2] then
        -- What was filled from the ledger meanwhile does not have this hold in it.
        if (state[3] or state[2]) == account[3] and hold.c ~= '0' then
          redis.call('HINCRBY', taken.k, period .. 'u', '-' .. hold.c)
          redis.call('HINCRBY', taken.k, period .. 'h', '-' .. hold.c)
        end
        if is_used then redis.call('HINCRBY', taken.k, period .. 'u', cost) end
      end
    end
  end
end

-- Adds what was spent without a hold here until that microsecond, when the account is still the one of the period. An
-- account that was filled later has it from the ledger, but for the last moment.
local function add_cost(scope, period, start, cost, ended, waits)
  local key = base .. 'c:' .. scope
  local state = redis.call('HMGET', key, period .. 's', period .. 'g')
  if state[2] then
    if number(state[1]) < number(start) then
      redis.call('HSET', key, period .. 's', start, period .. 'u', '0', period .. 'h', '0', period .. 't', '-1')
      state[1] = start
    end
    if state[1] == start and number(state[2]) <= number(ended) + LEDGER_LAG then
      redis.call('HINCRBY', key, period .. 'u', cost)
    end
  elseif waits and number(ended) + LEDGER_LAG >= now then
    local waiting = base .. 'p:' .. scope
    redis.call('HINCRBY', waiting, period .. ':' .. start .. ':' .. int(number(ended)), cost)
    redis.call('EXPIRE', waiting, 2)
  end
end

local operations = {}

-- call, tokens, cost, levels: takes room on all levels or on none.
operations['reserve'] = function(holds, call, tokens, cost, levels)
  local opened, missing = {}, { 'fill' }
  for place, level in ipairs(levels) do
    opened[place] = open_level(level) or false
    if not opened[place] then missing[#missing + 1] = int(place) end
  end
  if #missing > 1 then return missing end
  for place, level in ipairs(opened) do
    local refusal = shortage(level, tokens, number(cost))
    if refusal then return { 'short', int(place), unpack(refusal) } end
  end
  local hold, answer = { c = cost, l = {} }, { 'taken' }
  for place, level in ipairs(opened) do
    hold.l[place] = take(level, tokens, cost)
    describe(level, answer)
  end
  redis.call('HSET', holds, call, cjson.encode(hold))
  return answer
end

-- levels: how far they are used.
operations['look'] = function(_, levels)
  local opened, missing = {}, { 'fill' }
  for place, level in ipairs(levels) do
    opened[place] = open_level(level) or false
    if not opened[place] then missing[#missing + 1] = int(place) end
  end
  if #missing > 1 then return missing end
  local answer = { 'taken' }
  for _, level in ipairs(opened) do describe(level, answer) end
  return answer
end

-- call, tokens, cost, whether it was used at all, whether this is said for the first time, levels, when it ended: gives
-- back what the call took and counts what it used. Said again, it changes nothing. Said for the first time of a hold that
-- is gone (Redis was emptied, or took the replica for dead), its cost is counted all the same.
operations['settle'] = function(holds, call, tokens, cost, is_used, is_first, levels, ended)
  local hold = redis.call('HGET', holds, call)
  if hold then
    -- Of what this user may not do nothing is done by halves: it is said again.
    redis.call('HDEL', holds, '')
    settle_hold(cjson.decode(hold), tokens, cost, is_used)
    redis.call('HDEL', holds, call)
  elseif is_used and is_first then
    for _, level in ipairs(levels) do
      for period in string.gmatch(level[2], '.') do
        add_cost(level[1], period, int(period_start(period)), cost, ended, true)
      end
    end
  end
  return { 'done' }
end

-- id, list of {scope, period, start, cost, ended}: adds what was spent while Redis was away. Once for each id.
operations['add'] = function(_, id, costs)
  if redis.call('EXISTS', base .. 'a:' .. id) == 0 then
    -- Where the level is not here the replica has said so beside this.
    for _, cost in ipairs(costs) do add_cost(cost[1], cost[2], cost[3], cost[4], cost[5]) end
    -- At the end: an addition that was refused is said again.
    redis.call('SET', base .. 'a:' .. id, '1', 'EX', '3600')
  end
  return { 'done' }
end

-- replica, after how many seconds one is not counted, and after how many it is dead: says that this one lives, and
-- releases what dead ones hold. Answers how many live, how much was released, and the time.
operations['beat'] = function(_, replica, uncounted_after, dead_after)
  local replicas = base .. 'replicas'
  redis.call('ZADD', replicas, seconds, replica)
  local dead = redis.call('ZRANGEBYSCORE', replicas, '-inf', int(seconds - dead_after), 'LIMIT', 0, 1)[1]
  local released = 0
  if dead then
    local holds = base .. 'h:' .. dead
    local found = redis.call('HSCAN', holds, '0', 'COUNT', RELEASED_AT_A_TIME)[2]
    for place = 1, #found, 2 do
      redis.call('HDEL', holds, found[place])
      settle_hold(cjson.decode(found[place + 1]), 0, '0', false)
      released = released + 1
    end
    if redis.call('EXISTS', holds) == 0 then redis.call('ZREM', replicas, dead) end
  end
  return { 'alive', int(redis.call('ZCOUNT', replicas, int(seconds - uncounted_after), '+inf')), int(released), int(now) }
end

-- The calls in flight of this replica.
operations['list'] = function(holds)
  local calls = redis.call('HKEYS', holds)
  -- Lua cannot unpack more at a time.
  return { 'calls', unpack(calls, 1, math.min(#calls, 7000)) }
end

-- Takes room for a call that has it already, from before the account was here or while Redis was away.
local function bring_to(key, period, cost)
  local start = period_start(period)
  local state = redis.call('HMGET', key, period .. 's', period .. 'e', period .. 'g')
  local began = state[2] or state[3] or int(now)
  if not state[1] or number(state[1]) < start then
    state[1] = int(start)
    redis.call('HSET', key, period .. 's', state[1], period .. 'u', '0', period .. 'h', '0', period .. 't', '-1',
      period .. 'e', began)
  end
  redis.call('HINCRBY', key, period .. 'u', cost)
  redis.call('HINCRBY', key, period .. 'h', cost)
  return { period, state[1], began }
end

-- list of {call, cost, levels}: calls in flight that Redis may not know of. Said again, it changes nothing.
operations['bring'] = function(holds, calls)
  for _, brought in ipairs(calls) do
    local call, cost = brought[1], brought[2]
    if redis.call('HEXISTS', holds, call) == 0 then
      local hold = { c = cost, l = {} }
      for place, level in ipairs(brought[3]) do
        local taken = { k = base .. 'c:' .. level[1], r = {}, t = {}, b = {} }
        redis.call('HINCRBY', taken.k, 'f', 1)
        for period in string.gmatch(level[2], '.') do taken.b[#taken.b + 1] = bring_to(taken.k, period, cost) end
        redis.call('EXPIRE', taken.k, FORGET_AFTER_SECONDS)
        hold.l[place] = taken
      end
      redis.call('HSET', holds, call, cjson.encode(hold))
    end
  end
  return { 'done' }
end

-- replica, list of {scope, period, start, list of {cost, when the ledger had it, or 0}}: all that this replica has spent
-- and the ledger may not have. It counts when the level is filled, and not where that was done.
operations['tell'] = function(_, replica, accounts)
  for _, account in ipairs(accounts) do
    local scope, period, start, costs = account[1], account[2], account[3], account[4]
    local key = base .. 'p:' .. scope
    local prefix = period .. ':' .. start .. ':u:' .. replica .. ':'
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if string.sub(field, 1, #prefix) == prefix then redis.call('HDEL', key, field) end
    end
    if not redis.call('HGET', base .. 'c:' .. scope, period .. 'g') then
      for place, cost in ipairs(costs) do redis.call('HSET', key, prefix .. int(place), cost[1] .. ':' .. cost[2]) end
      redis.call('EXPIRE', key, TOLD_FOR_SECONDS)
    end
  end
  return { 'done' }
end

-- name: the era, which begins with this name where there is none.
operations['enter'] = function(_, name)
  local era = base .. 'era'
  if redis.call('HSETNX', era, 'i', name) == 1 then
    redis.call('HSET', era, 'a', int(now), 'n', '0')
    redis.call('DEL', base .. 'joined')
  end
  return { 'era', redis.call('HGET', era, 'i') }
end

-- replica, how many there were, or 0 where it does not know: this one has said all that its calls hold. Answers whether room
-- may be given.
operations['joined'] = function(_, replica, count)
  local era, joined = base .. 'era', base .. 'joined'
  local state = redis.call('HMGET', era, 'a', 'n', 'o')
  if state[3] then return { 'open' } end
  local expected = math.max(number(state[2]), count)
  -- One that does not know how many there were is none of those that have to say what they hold.
  if count > 0 then
    redis.call('SADD', joined, replica)
    redis.call('EXPIRE', joined, 60)
    redis.call('HSET', era, 'n', int(expected))
  end
  local passed = now - number(state[1])
  local is_complete = expected > 0 and redis.call('SCARD', joined) >= expected
  if not is_complete and passed >= 0 and passed < GATHERING then return { 'gathering' } end
  redis.call('HSET', era, 'o', '1')
  return { 'open' }
end

local list = cjson.decode(ARGV[1])
if list.era ~= '' and redis.call('HGET', base .. 'era', 'i') ~= list.era then return cjson.encode({ { 'lost' } }) end
-- First of all a write that needs memory: a Redis that takes none must not do a part of what follows, as it would once one
-- operation had freed some.
redis.call('SET', base .. 'write', '1')
local answers = {}
for place, operation in ipairs(list.operations) do
  local name = operation[1]
  local is_done, answer = pcall(operations[name], base .. 'h:' .. list.replica, unpack(operation, 2))
  -- One that fails must not take the others with it. When one of these fails, nothing can be written.
  if not is_done then
    if name == 'beat' or name == 'enter' or name == 'joined' then error(answer) end
    answer = { 'failed', type(answer) == 'table' and answer.err or tostring(answer) }
  end
  answers[place] = answer
end
return cjson.encode(answers)
