#!/bin/sh
# A wrong key at LiteLLM's proxy 1.108.7 that has a master key and no database, and no key at all.
#
# Guess: both are 401, as OpenAI's API has it: a client that stops at 401 stops here, too.
# Seen:  a wrong key is 400, "No connected db.", of type no_db_connection: nothing in it is about a key. No key at all is
#        500, "Internal Server Error" as plain text, which a client takes for an outage and asks again.
# So:    stop where nothing was ever answered and everyone gets the same refusal, whatever its status; and try the key
#        once by hand.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'litellm[proxy]==1.108.7'
cat > "$folder/config.yaml" <<'YAML'
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "http://127.0.0.1:9/v1", api_key: none, mock_response: hello}
general_settings: {master_key: sk-right}
YAML
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import version

folder = sys.argv[1]
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
command = [f"{folder}/venv/bin/litellm", "--config", f"{folder}/config.yaml", "--host", "127.0.0.1", "--port", str(port)]
environment = {"PATH": f"{folder}/venv/bin:{os.environ['PATH']}", "HOME": folder, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

def asked(key):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)) as answer:
            return answer.status, json.load(answer)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()[:160]

with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as server:
    try:
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        seen = {key: asked(key) for key in ("sk-right", "sk-wrong", "wrong", None)}
    finally:
        server.terminate()
print("litellm", version("litellm"))
for key, what in seen.items():
    print(f"{key}: {what}")
assert seen["sk-right"] == (200, "hello")
assert seen["sk-wrong"][0] == 400 and "No connected db" in seen["sk-wrong"][2], "a wrong key is told in other words now"
assert seen[None][:2] == (500, "text/plain; charset=utf-8"), "no key is told in other words now"
PYTHON
