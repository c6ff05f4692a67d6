-- Says what wrk counted in one line that a program can read.
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    "RESULT %d %d %d %.0f %.0f\n",
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
