#!/bin/sh
# Deleting one blob by obstore 0.12.1 with an account SAS that grants all, in Azurite 3.35.0.
#
# Guess: who may write a blob by a SAS with the permission `d` may delete it, too; and one blob is deleted by DELETE.
# Seen:  obstore deletes even one blob by the batch API (POST ?comp=batch), and Azurite refuses that with the same SAS by
#        which it takes PUT, GET and LIST, and a plain DELETE as well. With the account's key the batch works.
# So:    with a SAS try the delete beforehand, or do without one: what cannot be deleted should not be made.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'obstore==0.12.1' 'azure-storage-blob==12.30.0'
npm install --silent --no-fund --no-audit --prefix "$folder" azurite@3.35.0 >/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import datetime
import socket
import subprocess
import sys
import time
from importlib.metadata import version

import obstore
from azure.storage.blob import BlobServiceClient, generate_account_sas
from obstore.store import AzureStore

folder = sys.argv[1]
account = "devstoreaccount1"
key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's, published
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
url = f"http://127.0.0.1:{port}/{account}"
command = [f"{folder}/node_modules/.bin/azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", str(port), "-l", folder,
           "--skipApiVersionCheck", "--silent"]
with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        service = BlobServiceClient(url, credential=key)
        service.create_container("box")
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        sas = generate_account_sas(account, key, "sco", "rwdlacuptfx", until, services="b")
        options = {"client_options": {"allow_http": True}, "endpoint": url, "account_name": account}
        by_sas = AzureStore("box", sas_key=sas, **options)
        by_key = AzureStore("box", account_key=key, **options)

        def deleted(store):
            obstore.put(store, "a", b"bytes")
            assert bytes(obstore.get(store, "a").bytes()) == b"bytes"
            try:
                obstore.delete(store, "a")
            except Exception as error:
                return f"{type(error).__name__}: {str(error)[:160]}"
            return "deleted"

        seen = {"by key": deleted(by_key), "by SAS": deleted(by_sas)}
        BlobServiceClient(f"{url}?{sas}").get_blob_client("box", "a").delete_blob()
        print("obstore", version("obstore"), "azurite 3.35.0")
        for how, what in seen.items():
            print(f"{how}: {what}")
        print("by SAS, a plain DELETE: deleted")
    finally:
        server.terminate()
assert seen["by key"] == "deleted"
assert seen["by SAS"] != "deleted", "the batch is taken by SAS now"
PYTHON
