"""toxiproxy, for the scripts that put a bad network between a stream and its servers.

Its server is what an option names, else `toxiproxy-server` on PATH, else it is built by Go, which must be there then:
`go install github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0`.
"""
import atexit, json, os, shutil, subprocess, sys, time, urllib.error, urllib.request

MODULE = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0"


def program(named):
    """Returns the server's program."""
    found = named or shutil.which("toxiproxy-server")
    if found:
        return found
    place = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "samestream-toxiproxy")
    built = os.path.join(place, "server")
    if not os.path.exists(built):
        go = shutil.which("go") or sys.exit("toxiproxy is not here: name its server by --toxiproxy, put `toxiproxy-server` on PATH, or install Go")
        subprocess.run([go, "install", MODULE], env={**os.environ, "GOBIN": place}, check=True)
    return built


class Network:
    """A server of toxiproxy with a proxy for each pair of addresses: where it listens, and where that leads."""

    def __init__(self, named, port, folder, proxies):
        self.api = f"http://127.0.0.1:{port}"
        self.names = list(proxies)
        log = open(os.path.join(folder, "toxiproxy.log"), "w")
        server = subprocess.Popen([program(named), "-port", str(port)], stdout=subprocess.DEVNULL, stderr=log)
        atexit.register(server.kill)
        until = time.monotonic() + 10
        while True:
            try:
                self.ask("GET", "/version")
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > until:
                    sys.exit("toxiproxy does not answer")
                time.sleep(0.05)
        for name, (listen, upstream) in proxies.items():
            self.ask("POST", "/proxies", {"name": name, "listen": listen, "upstream": upstream, "enabled": True})

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, method=method, data=data)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def poison(self, kind, stream, attributes, toxicity=1.0):
        """Adds a toxic to every proxy."""
        body = {"name": f"{kind}-{stream}", "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        for name in self.names:
            self.ask("POST", f"/proxies/{name}/toxics", body)

    def cut(self):
        """Ends every connection and takes no other."""
        for name in self.names:
            self.ask("POST", f"/proxies/{name}", {"enabled": False})

    def heal(self):
        """Takes all of it back."""
        self.ask("POST", "/reset")
