-- What replicas know of providers' targets and keys: a hash of facts, each with the time until which it holds.
-- KEYS[1]: the prefix. ARGV[1]: a list of [fact, milliseconds]; 0 takes a fact back. Answers all facts that hold.
local MOST_FACTS = 2048
local board = KEYS[1] .. ':health'
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local changes = cjson.decode(ARGV[1])
for _, change in ipairs(changes) do
  local fact, lasts = change[1], change[2]
  if lasts <= 0 then
    redis.call('HDEL', board, fact)
  elseif redis.call('HEXISTS', board, fact) == 1 or redis.call('HLEN', board) < MOST_FACTS then
    redis.call('HSET', board, fact, string.format('%.0f', now + lasts))
  end
end
local all = redis.call('HGETALL', board)
local holding = {}
for place = 1, #all, 2 do
  local left = (tonumber(all[place + 1]) or 0) - now
  if left > 0 then
    holding[#holding + 1] = { all[place], string.format('%.0f', left) }
  else
    redis.call('HDEL', board, all[place])
  end
end
-- An empty table would be written as an object.
if #holding == 0 then
  return '[]'
end
return cjson.encode(holding)
