"""The part of the Networking API that nova cannot do without: an empty network service.

nova asks it even for servers booted with networks=none: every GET of a server lists
ports, a live migration lists extensions, a deletion lists ports again. Every
collection is empty, quotas are unlimited, all else is 404. No authentication.
usage: neutron_stub.py PORT
"""

import http.server
import json
import re
import sys


class Stub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        path = self.path.partition("?")[0].rstrip("/").removesuffix(".json")
        if path in ("", "/v2.0"):
            self.reply(
                200,
                {
                    "versions": [
                        {
                            "id": "v2.0",
                            "status": "CURRENT",
                            "links": [{"rel": "self", "href": f"http://{self.headers['Host']}/v2.0/"}],
                        }
                    ]
                },
            )
        elif re.fullmatch(r"/v2\.0/[a-z-]+", path):
            self.reply(200, {path.rpartition("/")[2].replace("-", "_"): []})
        elif path.startswith("/v2.0/quotas/"):
            self.reply(
                200,
                {
                    "quota": dict.fromkeys(
                        ("network", "port", "floatingip", "security_group", "security_group_rule"), -1
                    )
                },
            )
        else:
            self.missing()

    def missing(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.reply(
            404, {"NeutronError": {"type": "NotFound", "message": f"stub: no {self.command} {self.path}", "detail": ""}}
        )

    do_POST = do_PUT = do_DELETE = missing

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Stub).serve_forever()
