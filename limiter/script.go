package limiter

import "github.com/redis/go-redis/v9"

// The scripts run on the store, each as one step that nothing else comes
// between, by the store's clock, so that those of the gateways need not agree.
//
// A bucket is one number, in microseconds: when it will be full again, which
// is the theoretical arrival time of the generic cell rate algorithm (ITU-T
// I.371). Requests in flight are members of a sorted set that end by
// themselves: what a gateway that died has left there does not stay.

// askScript decides about all limits of a request. ARGV is the id of the
// request, the milliseconds that it may be in flight without a renewal, and
// for each key: usage (s: spends, a: charged by the answer, c: counts),
// microseconds for one token, burst, cost, and whether it only observes. An
// "a" has two keys, the bucket and the set. The reply has a number for each:
// thousandths of tokens that were there, or -1 - microseconds to wait. Unless
// one that enforces has to wait, those that need not are drawn from.
var askScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local out, todo, refused = {}, {}, false
local k, a = 1, 3
while a <= #ARGV do
  local usage, interval, burst, cost = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local bucket, flights
  if usage ~= 'c' then bucket = KEYS[k]; k = k + 1 end
  if usage ~= 's' then flights = KEYS[k]; k = k + 1 end
  local full, left, wait = now, burst, 0
  if bucket then
    full = math.max(now, tonumber(redis.call('GET', bucket) or now))
    left = math.max(0, burst - (full - now) / interval)
    if left + 0.000001 < cost then wait = (cost - left) * interval end
  end
  if flights then
    left = left - redis.call('ZCOUNT', flights, string.format('(%.0f', now), '+inf')
    if left < 1 and wait == 0 then wait = 1000000 end
  end
  if wait > 0 then
    out[#out + 1] = -1 - math.ceil(wait)
    if ARGV[a + 4] == '0' then refused = true end
  else
    out[#out + 1] = math.floor(left * 1000)
    todo[#todo + 1] = {bucket, flights, full + cost * interval}
  end
  a = a + 5
end
if refused then return out end
for _, d in ipairs(todo) do
  if d[2] then
    redis.call('ZREMRANGEBYSCORE', d[2], '-inf', string.format('%.0f', now))
    redis.call('ZADD', d[2], string.format('%.0f', now + ARGV[2] * 1000), ARGV[1])
    redis.call('PEXPIRE', d[2], ARGV[2])
  else
    redis.call('SET', d[1], string.format('%.17g', d[3]), 'PX', string.format('%.0f', (d[3] - now) / 1000 + 1000))
  end
end
return out
`)

// endScript ends a request: it takes it out of the sets, and charges one token
// for each answer that costs one, down to nothing. Running it again changes
// nothing. ARGV is the id, and for each entry: usage (a or c), microseconds
// for one token, burst, and whether it is charged.
var endScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local k, a = 1, 2
while a <= #ARGV do
  local bucket
  if ARGV[a] == 'a' then bucket = KEYS[k]; k = k + 1 end
  local known = redis.call('ZREM', KEYS[k], ARGV[1]) == 1
  k = k + 1
  if bucket and known and ARGV[a + 3] == '1' then
    local interval = tonumber(ARGV[a + 1])
    local full = math.max(now, tonumber(redis.call('GET', bucket) or now)) + interval
    full = math.min(full, now + ARGV[a + 2] * interval)
    redis.call('SET', bucket, string.format('%.17g', full), 'PX', string.format('%.0f', (full - now) / 1000 + 1000))
  end
  a = a + 4
end
return 1
`)

// renewScript keeps a request in the sets that it is in. ARGV is the id and
// the milliseconds.
var renewScript = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
for _, flights in ipairs(KEYS) do
  redis.call('ZADD', flights, 'XX', string.format('%.0f', now + ARGV[2] * 1000), ARGV[1])
  redis.call('PEXPIRE', flights, ARGV[2])
end
return 1
`)
