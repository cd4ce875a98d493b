# SPDX-FileCopyrightText: The Berth Authors
# SPDX-License-Identifier: Apache-2.0

"""A hook: gives every profile of its class a ConfigMap with its name. Run it with: python3 hook.py 8080"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = os.environ.get("GREETING_FILE", "/etc/hook/greeting")  # read at each request; none means no ConfigMap


def sync(namespace, attachments, finalizing):
    """Says what is to be there; attachments are what is there. A hook keeps nothing in memory."""
    if finalizing:
        return {"finalized": True, "attachments": []}
    if not os.path.exists(GREETING):
        return {"attachments": []}
    with open(GREETING, encoding="utf-8") as greeting:
        data = {"greeting": greeting.read().strip(), "team": namespace["metadata"]["name"]}
    welcome = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "welcome"}, "data": data}
    return {"attachments": [welcome], "labels": {"example.com/welcomed": "true"}}


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = sync(request["object"], request["attachments"], request["finalizing"])
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("", int(sys.argv[1])), Hook)
    print("listening on", server.server_port, flush=True)
    server.serve_forever()
