-- wrk: POST the bodies in a file that the environment names; each is length, newline, bytes.
local bodies = {}
local file = assert(io.open(os.getenv("BODIES"), "rb"))
while true do
  local length = file:read("*n")
  if not length then break end
  file:read(1)
  bodies[#bodies + 1] = file:read(length)
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "multipart/form-data; boundary=benchmark"
local turn = 0
function request()
  turn = turn % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[turn])
end
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "p50": %.3f, "p95": %.3f, "p99": %.3f, "errors": %d, "refused": %d}\n',
    summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
