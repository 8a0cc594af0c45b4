-- Counts one event for each key, up to the first that is refused, by the generic cell rate algorithm like rate.countOne
-- in limiter.go.
-- ARGV has three numbers per key, in microseconds: the interval, the period, and how far ahead the next allowed time may
-- be. Then "count", or "peek" to only read. Optionally the time in Unix microseconds; the default is the clock of Redis.
-- Returns two numbers per key: how far ahead the next allowed time is now, and 1 if the event is refused.
local now = tonumber(ARGV[3 * #KEYS + 2])
if not now then
	local time = redis.call('TIME')
	now = time[1] * 1000000 + time[2]
end
local reply, count = {}, ARGV[3 * #KEYS + 1] == 'count'
for i, key in ipairs(KEYS) do
	local interval, period, max_ahead = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
	local ahead = (tonumber(redis.call('GET', key)) or now) - now
	if ahead < 0 or ahead > max_ahead + 5000000 then -- no count reaches that far: the clock was set back
		ahead = 0
	end
	ahead = math.min(ahead, max_ahead)
	local refused = ahead + interval > period
	if count then
		if not refused then
			ahead = ahead + interval
		elseif max_ahead > period then
			ahead = math.min(2 * ahead, max_ahead)
		end
		redis.call('SET', key, string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000) + 1000)
	end
	reply[#reply + 1] = ahead
	reply[#reply + 1] = refused and 1 or 0
	if refused then
		break
	end
end
return reply
