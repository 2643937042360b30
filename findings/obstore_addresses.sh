#!/bin/sh
# Addresses that are none, in obstore 0.12.1, and Ctrl-C while it waits.
#
# Guess: an endpoint without a scheme, an empty one or one with a bad port raises an exception such as others do, and a
#        wait between two tries ends with Ctrl-C.
# Seen:  it panics: PanicException is no Exception, and lines of Rust stand on stderr. A signal is heard when the call has
#        come back.
# So:    check addresses before they are given to it, take empty variables out, catch the panic by its name, and call it
#        in a thread of its own.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'obstore==0.12.1'
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import datetime as dt
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from obstore.exceptions import BaseError
from obstore.store import S3Store

keys = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"}
for endpoint in ("localhost:9000", "", "http://host:99999", "http://1.2.3.4.5"):
    try:
        S3Store("shelf", endpoint=endpoint, client_options={"allow_http": True}, **keys).head("key")
    except Exception as error:
        raise AssertionError(f"{endpoint!r} raises an exception now: {error}") from None
    except BaseException as error:
        print(f"{endpoint!r}: {type(error).__name__}")



class Busy(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(503)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Busy)
threading.Thread(target=server.serve_forever, daemon=True).start()
waits = {"init_backoff": dt.timedelta(seconds=4), "max_backoff": dt.timedelta(seconds=5), "base": 2}
store = S3Store(
    "shelf",
    endpoint=f"http://127.0.0.1:{server.server_port}",
    client_options={"allow_http": True},
    retry_config={"max_retries": 1, "backoff": waits},
    **keys,
)
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(time.monotonic()))
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
try:
    store.head("key")
except BaseError:
    pass
time.sleep(0.1)
took = heard[0] - began
print(f"Ctrl-C after one second was heard after {took:.0f}")
assert took > 3, "signals are heard now"
PYTHON
