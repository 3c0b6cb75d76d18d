-- Takes the place of a sink for a process, so that an older one publishes nothing from now on.
-- KEYS: rows, meta. ARGV: pipeline, sink, owner, how: 'ask' (only what is ours), 'begin', or the owner that it must have;
-- and what the keys of staged rows begin with, of which those of the owner before go.
-- Returns: what it found, owner, job, epoch, commits, how many rows were counted, how many there are.
local meta = redis.call('HMGET', KEYS[2], 'pipeline', 'sink', 'owner', 'job', 'epoch', 'commits', 'rows')
local count = redis.call('HLEN', KEYS[1])
local function answer(word)
  return {word, meta[1] or '', meta[2] or '', meta[4] or '', meta[5] or '', meta[6] or '0', meta[7] or '0', tostring(count)}
end
if not meta[3] then
  if ARGV[4] == 'ask' then return answer('new') end
  if count > 0 then return answer('foreign') end
elseif meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then
  return answer('held')
elseif ARGV[4] ~= 'ask' and ARGV[4] ~= 'begin' and meta[3] ~= ARGV[4] then
  return answer('fenced')
end
if meta[3] then redis.call('UNLINK', ARGV[5] .. meta[3]) end
redis.call('HSET', KEYS[2], 'pipeline', ARGV[1], 'sink', ARGV[2], 'owner', ARGV[3], 'commits', meta[6] or '0', 'rows', meta[7] or '0')
return answer('ours')
