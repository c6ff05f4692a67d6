"""Measures Drape against nginx, both on one core in front of the same files, and prints a Markdown report.

    measure.py [--seconds S] [--rounds N] [--connections C] [--stream-mb M] [--binaries FOLDER] [--quick]

`run` beside this file installs and builds what is needed and then starts it. The proxies run on one core, the upstream,
the issuer and the load on another. Every answer is checked once before anything is timed, and an answer that fails
while timed fails the run.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TICK = os.sysconf("SC_CLK_TCK")
PAGE = "/Observation?_count=50"
EVERYTHING = "/Observation?_count=100000"
START_SECONDS_MAX = 30
CALLERS = {
    "records-officer": "drape, all-seeing: every byte passes",
    "doctor": "drape, treating doctor: all shown, judged by record",
    "billing": "drape, billing: redact + encrypt",
    "researcher": "drape, researcher: redact + generalize + pseudonymize",
    "registry": "drape, registry: redact + generalize + pseudonymize + encrypt",
}


class Failed(Exception):
    """Something did not answer as it must; the figures would mean nothing."""


def port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cores():
    """One core for the proxy, one for everything else."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Failed("the benchmark needs two cores: one for the proxy, one for upstream and load")
    return allowed[0], allowed[1]


class Process:
    """A child on one core; it is stopped when the bench ends, however it ends."""

    def __init__(self, stack, core, command, log, **more):
        self.child = subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stderr=log, **more)
        stack.callback(self.stop)

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(timeout=10)

    def pids(self):
        """The process and its children: nginx works in a child."""
        children = pathlib.Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return [self.child.pid, *map(int, children)]

    def cpu(self):
        """Seconds of processor time that it has used, user and system."""
        total = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def memory(self, field):
        """Megabytes resident: `VmRSS` now, `VmHWM` at most."""
        total = 0
        for pid in self.pids():
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            total += int(re.search(rf"^{field}:\s+(\d+)", status, re.M).group(1))
        return total / 1024


def wait_for(number, path="/", accept=lambda status: True):
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if accept(get(number, path)[0]):
                return
        time.sleep(0.05)
    raise Failed(f"nothing usable answers on port {number} at {path} after {START_SECONDS_MAX} s")


def get(number, path, token=None):
    connection = http.client.HTTPConnection("127.0.0.1", number, timeout=60)
    try:
        headers = {"Accept": "application/fhir+json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def binary_of_nginx():
    return shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")


def nginx(stack, work, name, core, server, http_part=""):
    """Starts an nginx with one worker in a folder of its own."""
    folder = work / name
    folder.mkdir()
    # Its worker must read our files; only root may say who it is, and must.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"""
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; tcp_nopush on; sendfile on;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {http_part}
    server {{ {server} }}
}}
"""
    )
    command = [binary_of_nginx(), "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
    return Process(stack, core, command, subprocess.DEVNULL)


def upstream(stack, work, core, number, bodies):
    files = f"""
        listen 127.0.0.1:{number}; root {bodies}; default_type application/fhir+json;
        open_file_cache max=16 inactive=1h;
        location = /fhir/Patient/p1 {{ alias {bodies}/patient.json; }}
        location = /fhir/Observation {{ alias {bodies}/$searchset; }}
        location = /fhir/metadata {{ alias {bodies}/metadata.json; }}
        location / {{ return 404; }}
    """
    which = "map $arg__count $searchset { default searchset.json; 100000 stream.json; }"
    nginx(stack, work, "upstream", core, files, which)
    wait_for(number, "/fhir/metadata", lambda status: status == 200)


def nginx_proxy(stack, work, name, core, number, behind, buffers):
    server = f"""
        listen 127.0.0.1:{number};
        location / {{
            proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; {buffers}
        }}
    """
    part = f"upstream behind {{ server 127.0.0.1:{behind}; keepalive 64; keepalive_requests 1000000000; }}"
    process = nginx(stack, work, name, core, server, part)
    wait_for(number, "/fhir/metadata", lambda status: status == 200)
    return process


def issuer(stack, binaries, core, number, audience):
    """Starts the issuer; gives a token for each caller."""
    command = [binaries / "examples/issuer", f"127.0.0.1:{number}", audience]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = Process(stack, core, command, None, **pipes)
    tokens = {}
    while line := process.child.stdout.readline().strip():
        name, token = line.split(" ")
        tokens[name] = token
    if set(tokens) != set(CALLERS):
        raise Failed("the issuer gave no tokens")
    return tokens


class Drape:
    """A proxy with its own keys and log in a folder of its own."""

    def __init__(self, binaries, work, core, behind, vouches, number):
        self.core, self.number, self.admin = core, number, port()
        self.config = work / "drape.yaml"
        policies = work / "policies"
        shutil.copytree(ROOT / "policies/hospital", policies, ignore=lambda _, names: [n for n in names if not n.endswith(".cedar")])
        shutil.copy(HERE / "registry.cedar", policies)
        self.config.write_text(
            f"""
listen: {{ address: "127.0.0.1:{number}", plaintext: true }}
admin: {{ address: "127.0.0.1:{self.admin}", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit: {{ directory: log, origin: bench.example.org/audit, signing_key_file: log.key }}
tenants:
  - name: main
    public_base_url: http://127.0.0.1:{number}/fhir
    time_zone: UTC
    upstream: {{ base_url: "http://127.0.0.1:{behind}/fhir", plaintext: true, auth: {{ kind: none }} }}
    issuers:
      - issuer: http://127.0.0.1:{vouches}
        plaintext: true
        purposes:
          TREAT: [clinician]
          HPAYMT: [billing]
          HRESCH: [researcher, registry]
          HOPERAT: [records-officer]
    policies: {{ directory: policies }}
"""
        )
        self.binary = binaries / "drape"
        subprocess.run([self.binary, "init", "--config", self.config], check=True, stdout=subprocess.DEVNULL)

    @contextlib.contextmanager
    def serve(self):
        with contextlib.ExitStack() as stack, (self.config.parent / "drape.log").open("a") as log:
            environment = os.environ | {"DRAPE_LOG": "warn"}
            process = Process(stack, self.core, [self.binary, "serve", "--config", self.config], log, env=environment)
            wait_for(self.admin, "/readyz", lambda status: status == 200)
            wait_for(self.number, "/fhir/metadata", lambda status: status == 200)
            yield process

    def entries(self):
        text = get(self.admin, "/metrics")[1].decode()
        return int(re.search(r"^drape_audit_log_entries (\d+)", text, re.M).group(1))


def check(direct, proxies, drape, tokens):
    """Right answers first. Gives each caller's address of the patient."""
    base = f"http://127.0.0.1:{direct}/fhir"
    public = f"http://127.0.0.1:{drape}/fhir"
    bodies = {}
    for path in ("/Patient/p1", PAGE):
        status, bodies[path] = get(direct, "/fhir" + path)
        if status != 200 or b"CANARY-NARRATIVE" not in bodies[path]:
            raise Failed(f"the upstream answers {status} to {path}")
        for name, number in proxies.items():
            if get(number, "/fhir" + path) != (200, bodies[path]):
                raise Failed(f"{name} does not pass {path} on as it is")
    status, _ = get(drape, "/fhir/Patient/p1")
    if status != 401:
        raise Failed(f"drape answers {status} to a request without a token")

    # Canaries that may stand in what a caller is shown; every other one is a leak.
    allowed = {
        "billing": {
            "Patient": {"FAMILY", "MAIDEN", "MRN", "SSN", "STREET", "CITY", "COUNTY", "KIN"},
            "Observation": {"FAMILY", "ACC"},
        },
        "researcher": {"Patient": set(), "Observation": set()},
        "registry": {"Patient": set(), "Observation": set()},
    }
    patients = {}
    for name, token in tokens.items():
        status, page = get(drape, "/fhir" + PAGE, token)
        if status != 200 or len(json.loads(page).get("entry", [])) != 50:
            raise Failed(f"{name}: {PAGE} gives {status} and {page[:300]!r}")
        subject = json.loads(page)["entry"][0]["resource"]["subject"]["reference"]
        patients[name] = "/" + subject
        status, patient = get(drape, "/fhir/" + subject, token)
        if status != 200:
            raise Failed(f"{name}: {subject} gives {status} and {patient[:300]!r}")
        if name in ("records-officer", "doctor"):
            if patient != bodies["/Patient/p1"].replace(base.encode(), public.encode()):
                raise Failed(f"{name}: the patient is not passed on byte by byte")
            if name == "records-officer" and page != bodies[PAGE].replace(base.encode(), public.encode()):
                raise Failed(f"{name}: the page is not passed on byte by byte")
            if name == "doctor" and b"CANARY-NOTE 49" not in page:
                raise Failed(f"{name}: a note is missing")
            continue
        for kind, body in (("Patient", patient), ("Observation", page)):
            found = {word.decode() for word in re.findall(rb"CANARY-([A-Z]+)", body)}
            if found - allowed[name][kind]:
                raise Failed(f"{name}: {sorted(found - allowed[name][kind])} leak from {kind}")
        sealed = patient if name == "billing" else page
        if name in ("billing", "registry") and b"encrypted-element" not in sealed:
            raise Failed(f"{name}: nothing was sealed")
        if name in ("researcher", "registry") and (subject == "Patient/p1" or b"Patient/p1" in page):
            raise Failed(f"{name}: the patient's own id leaks")
    return patients


def load(asked, core, number, path, token, process):
    """One timed run: requests a second, processor time a request, latencies."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{asked.connections}", "--timeout", "20s", "-s", HERE / "report.lua"]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    url = f"http://127.0.0.1:{number}/fhir{path}"

    def run(seconds):
        done = subprocess.run([*map(str, command), f"-d{seconds}s", url], check=True, capture_output=True, text=True, timeout=seconds + 60)
        found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.M)
        requests, microseconds, errors, p50, p99 = map(int, found.groups())
        if errors or not requests:
            raise Failed(f"{errors} of {requests} requests failed: {url}")
        return requests, microseconds / 1e6, p50 / 1e3, p99 / 1e3

    run(1)
    before = process.cpu() if process else 0
    requests, seconds, p50, p99 = run(asked.seconds)
    used = process.cpu() - before if process else 0
    return {"rps": requests / seconds, "cpu": used / requests * 1e6, "p50": p50, "p99": p99, "requests": requests}


def stream(core, number, token, process, size):
    """A long Bundle once: MB/s of what the upstream sent, processor time, first byte."""
    command = ["taskset", "-c", str(core), "curl", "-sS", "-o", "/dev/null", "--max-time", "280"]
    command += ["-w", "%{http_code} %{size_download} %{time_total} %{time_starttransfer}"]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    before = process.cpu() if process else 0
    done = subprocess.run([*command, f"http://127.0.0.1:{number}/fhir{EVERYTHING}"], check=True, capture_output=True, text=True, timeout=300)
    status, received, seconds, first = map(float, done.stdout.split())
    if status != 200 or received < size / 10:
        raise Failed(f"the long Bundle gives {status:.0f} and {received:.0f} bytes")
    used = process.cpu() - before if process else 0
    return {"mbs": size / seconds / 1e6, "cpu": used, "first": first * 1e3}


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def table(results, targets):
    """The rows of one body; ratios are made within each round, then the median is taken."""
    lines = [
        "| | requests/s | × nginx64 | CPU µs/request | × nginx64 | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    fair = results["nginx64"]
    for name in targets:
        runs = results[name]
        rate = statistics.median(run["rps"] / base["rps"] for run, base in zip(runs, fair))
        cells = [f"{middle(runs, 'rps'):,.0f}", f"{rate:.2f}"]
        if runs[0]["cpu"]:
            cost = statistics.median(run["cpu"] / base["cpu"] for run, base in zip(runs, fair))
            cells += [f"{middle(runs, 'cpu'):.0f}", f"{cost:.2f}"]
        else:
            cells += ["–", "–"]
        cells += [f"{middle(runs, 'p50'):.2f}", f"{middle(runs, 'p99'):.2f}"]
        lines.append(f"| {CALLERS.get(name, name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sync_cost(folder):
    """The median time to append 512 bytes and force them to disk, in microseconds: what a log entry cannot undercut."""
    times = []
    with (folder / "sync").open("ab", buffering=0) as out:
        for _ in range(300):
            out.write(bytes(512))
            before = time.perf_counter()
            os.fdatasync(out.fileno())
            times.append(time.perf_counter() - before)
    return statistics.median(times) * 1e6


def machine():
    model = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    memory = int(re.search(r"^MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.M).group(1))
    cpu = model.group(1) if model else platform.machine()
    return f"{cpu}, {os.cpu_count()} cores, {memory / 2**20:.0f} GB, Linux {platform.release()}"


def version(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def measure(asked, work, stack):
    near, far = cores()
    say = lambda text="": print(text, flush=True)
    note = lambda text: print(f"bench: {text}", file=sys.stderr, flush=True)
    ports = {name: port() for name in ("direct", "nginx64", "nginx", "drape", "issuer")}
    bodies = work / "bodies"
    base = f"http://127.0.0.1:{ports['direct']}/fhir"
    maker = [sys.executable, HERE / "bodies.py", bodies, base, "--stream-bytes", str(asked.stream_mb * 1_000_000)]
    subprocess.run(maker, check=True)
    sizes = {name: (bodies / name).stat().st_size for name in ("patient.json", "searchset.json")}
    upstream(stack, work, far, ports["direct"], bodies)
    buffers = "proxy_buffers 8 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;"
    proxies = {
        "nginx64": nginx_proxy(stack, work, "nginx64", near, ports["nginx64"], ports["direct"], buffers),
        "nginx": nginx_proxy(stack, work, "nginx", near, ports["nginx"], ports["direct"], ""),
    }
    tokens = issuer(stack, asked.binaries, far, ports["issuer"], f"http://127.0.0.1:{ports['drape']}/fhir")
    drape = Drape(asked.binaries, work, near, ports["direct"], ports["issuer"], ports["drape"])

    say(f"- machine: {machine()}")
    say(f"- {version([binary_of_nginx(), '-v'])}; {version(['wrk', '-v']).split(' [')[0]}; {version(['rustc', '--version'])}")
    say(f"- {asked.rounds} rounds of {asked.seconds} s, {asked.connections} connections, HTTP/1.1 without TLS; medians")
    say(f"- load average at the start: {' '.join(f'{x:.2f}' for x in os.getloadavg())}")
    say(f"- fdatasync of one 512-byte append on the log's disk: {sync_cost(work):.0f} µs")
    say()
    targets = ["direct", "nginx64", "nginx", *CALLERS]
    memory = {"nginx64": [proxies["nginx64"].memory("VmRSS")]}
    results = {"patient": {name: [] for name in targets}, "page": {name: [] for name in targets}}
    with drape.serve() as process:
        time.sleep(1)
        memory["drape"] = [process.memory("VmRSS")]
        number = {name: ports[name] for name in proxies}
        patients = check(ports["direct"], number, ports["drape"], tokens)
        note("every answer is right")
        for turn in range(asked.rounds):
            for body in ("patient", "page"):
                for name in targets:
                    path = PAGE if body == "page" else patients.get(name, "/Patient/p1")
                    running = process if name in CALLERS else proxies.get(name)
                    entries = drape.entries()
                    where = ports["drape"] if name in CALLERS else ports[name]
                    run = load(asked, far, where, path, tokens.get(name), running)
                    written = drape.entries() - entries
                    if name in CALLERS and written < 2 * run["requests"]:
                        raise Failed(f"{name}: {written} log entries for {run['requests']} requests")
                    results[body][name].append(run)
                    note(f"round {turn + 1} {body} {name}: {run['rps']:,.0f}/s, {run['cpu']:.0f} µs, p50 {run['p50']:.2f} ms")
        memory["drape"].append(process.memory("VmHWM"))
        memory["nginx64"].append(proxies["nginx64"].memory("VmHWM"))
    say(f"### Patient, {sizes['patient.json']:,} bytes\n")
    say(table(results["patient"], targets))
    say(f"\n### Bundle of 50 Observations, {sizes['searchset.json']:,} bytes\n")
    say(table(results["page"], targets))
    say("\n### Memory under that load\n")
    say("| | idle MB | at most MB |\n|---|---|---|")
    for name, (idle, most) in memory.items():
        say(f"| {name} | {idle:.1f} | {most:.1f} |")

    if asked.stream_mb:
        size = (bodies / "stream.json").stat().st_size
        say(f"\n### One Bundle of {size / 1e6:,.0f} MB\n")
        say("| | MB/s | CPU s | first byte ms | peak RSS MB |\n|---|---|---|---|---|")
        for name in ("direct", "nginx64", "records-officer", "registry"):
            runs, peak = [], "–"
            # A fresh process each, so that the peak is this stream's.
            with drape.serve() if name in CALLERS else contextlib.nullcontext(proxies.get(name)) as running:
                where = ports["drape"] if name in CALLERS else ports[name]
                for _ in range(asked.rounds):
                    runs.append(stream(far, where, tokens.get(name), running, size))
                if name in CALLERS:
                    peak = f"{running.memory('VmHWM'):.1f}"
            cpu = f"{middle(runs, 'cpu'):.2f}" if name != "direct" else "–"
            say(f"| {CALLERS.get(name, name)} | {middle(runs, 'mbs'):,.0f} | {cpu} | {middle(runs, 'first'):.1f} | {peak} |")
            note(f"stream {name}: {middle(runs, 'mbs'):,.0f} MB/s")

    say("\n### One decision, in microseconds\n")
    command = ["taskset", "-c", str(near), asked.binaries / "examples/decision_cost"]
    say(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)
    say(f"Load average at the end: {' '.join(f'{x:.2f}' for x in os.getloadavg())}")


def main():
    parser = argparse.ArgumentParser(description="Measures Drape against nginx.")
    parser.add_argument("--seconds", type=int, default=6, help="length of one timed run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--stream-mb", type=int, default=100, help="size of the long Bundle; 0 leaves it out")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/release", help="where cargo put them")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s and 10 MB: to see that it works")
    asked = parser.parse_args()
    if asked.quick:
        asked.seconds, asked.rounds, asked.stream_mb = 2, 1, 10
    # On a real disk: a log in memory would be durable for nothing.
    folder = HERE.parent / "work"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as work, contextlib.ExitStack() as stack:
        try:
            measure(asked, pathlib.Path(work), stack)
        except (Failed, subprocess.SubprocessError, OSError) as fault:
            for log in [pathlib.Path(work) / "drape.log", *pathlib.Path(work).glob("*/error.log")]:
                if log.exists():
                    sys.stderr.write(log.read_text()[-2000:])
            sys.exit(f"bench: {fault}")


if __name__ == "__main__":
    main()
