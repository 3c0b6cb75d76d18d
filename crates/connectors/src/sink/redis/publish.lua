-- Publishes what one process has staged, once and as a whole.
-- KEYS: rows, meta, open, staged.
-- ARGV: owner, commits so far, how many entries are staged, replace: 'all', 'open' or 'nothing', job, epoch ('' leaves both, '-' clears).
-- Returns: 'done'; 'short' if entries are missing; or 'found' with owner and commits, if they are not those.
-- An entry is three items: 'f' (final), 'o' (open) or 'd' (delete); the row's name; the row.
local meta = redis.call('HMGET', KEYS[2], 'owner', 'commits')
if not meta[1] then return {'found'} end
if meta[1] ~= ARGV[1] or meta[2] ~= ARGV[2] then return {'found', meta[1], meta[2]} end
local items = tonumber(ARGV[3]) * 3
if redis.call('LLEN', KEYS[4]) ~= items then return {'short'} end
if ARGV[4] == 'all' then
  redis.call('UNLINK', KEYS[1], KEYS[3])
elseif ARGV[4] == 'open' then
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[3])) do redis.call('HDEL', KEYS[1], name) end
  redis.call('UNLINK', KEYS[3])
end
for start = 0, items - 1, 3000 do
  local piece = redis.call('LRANGE', KEYS[4], start, start + 2999)
  for at = 1, #piece, 3 do
    local kind, name, row = piece[at], piece[at + 1], piece[at + 2]
    if kind == 'd' then
      redis.call('HDEL', KEYS[1], name)
      redis.call('SREM', KEYS[3], name)
    else
      redis.call('HSET', KEYS[1], name, row)
      if kind == 'o' then redis.call('SADD', KEYS[3], name) end
    end
  end
end
redis.call('UNLINK', KEYS[4])
if ARGV[6] == '-' then
  redis.call('HDEL', KEYS[2], 'job', 'epoch')
elseif ARGV[6] ~= '' then
  redis.call('HSET', KEYS[2], 'job', ARGV[5], 'epoch', ARGV[6])
end
redis.call('HSET', KEYS[2], 'commits', ARGV[2] + 1, 'rows', redis.call('HLEN', KEYS[1]))
return {'done'}
