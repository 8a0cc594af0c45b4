-- Counts one event for each key, up to the first that refuses (generic cell rate algorithm, as rate.step does it in Go).
-- ARGV has three numbers per key, in microseconds: interval, period, and how far ahead the next free moment may lie.
-- Then "count", or "peek" to only read. Optionally the time in Unix microseconds; the default is the clock of Redis.
-- Answers two numbers per key: how far ahead it lies now, and 1 if the event is refused.
local now = tonumber(ARGV[3 * #KEYS + 2])
if not now then
	local time = redis.call('TIME')
	now = time[1] * 1000000 + time[2]
end
local answer, count = {}, ARGV[3 * #KEYS + 1] == 'count'
for i, key in ipairs(KEYS) do
	local interval, period, most = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
	local ahead = (tonumber(redis.call('GET', key)) or now) - now
	if ahead < 0 or ahead > most + 5000000 then -- nothing counted is that far ahead: the clock was set back
		ahead = 0
	end
	ahead = math.min(ahead, most)
	local refused = ahead + interval > period
	if count then
		if not refused then
			ahead = ahead + interval
		elseif most > period then
			ahead = math.min(2 * ahead, most)
		end
		redis.call('SET', key, string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000) + 1000)
	end
	answer[#answer + 1] = ahead
	answer[#answer + 1] = refused and 1 or 0
	if refused then
		break
	end
end
return answer
