"""An S3 on the loopback: moto's own server, in a thread, which a test can script. `Store` is its context.

`store.deaf` and `store.mute` are headers that it does not hear, as HTTP_IF_MATCH, and does not say, as etag.

`store.script = lambda request: Refusal(403, "AccessDenied") if request.part == 2 else None`: None is S3's own answer; a
script may wait, too.
"""

import io
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "shelf"
SECRET = "wJalrXUtnFEMI-K7MDENG-never-shown"


@dataclass(frozen=True)
class Request:
    """`part`: the number of a multipart upload's part, None elsewhere."""

    method: str
    path: str
    part: int | None
    range: tuple[int, int] | None = None


@dataclass(frozen=True)
class Refusal:
    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = ()
    said: str = ""

    def body(self) -> bytes:
        said = f"{self.said}<Message>{SECRET}</Message><AWSAccessKeyId>{SECRET}</AWSAccessKeyId>"
        return f'<?xml version="1.0"?><Error><Code>{self.code}</Code>{said}</Error>'.encode()


def _request(environ) -> Request:
    part = parse_qs(environ["QUERY_STRING"]).get("partNumber")
    span = re.fullmatch(r"bytes=(\d+)-(\d+)", environ.get("HTTP_RANGE", ""))
    return Request(
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"],
        int(part[0]) if part else None,
        (int(span[1]), int(span[2]) + 1) if span else None,
    )


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass


class Store:
    def __init__(self) -> None:
        self._s3 = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, name="s3")
        self.url = f"http://127.0.0.1:{self._server.port}"
        self.script: Callable[[Request], Refusal | None] = lambda _: None
        self.deaf: set[str] = set()
        self.mute: set[str] = set()
        self.requests: list[Request] = []
        self.environ = {
            "AWS_ACCESS_KEY_ID": "shelf-key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",  # where nobody answers
        }
        self._client = boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._client.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._client.close()

    def _answer(self, environ, start_response):
        request = _request(environ)
        self.requests.append(request)
        refusal = self.script(request)
        if refusal is None:
            return self._s3(*self._twisted(environ, start_response))
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(f"{refusal.status} No", [("Content-Type", "application/xml"), *refusal.headers])
        return [refusal.body()]

    def _twisted(self, environ, start_response):
        for header in self.deaf:
            environ.pop(header, None)

        mute = self.mute if environ["REQUEST_METHOD"] in ("GET", "HEAD") else ()

        def start(status, headers, *more):
            return start_response(status, [(k, v) for k, v in headers if k.lower() not in mute], *more)

        return environ, start

    def empty(self) -> None:
        self.script = lambda _: None
        self.deaf, self.mute = set(), set()
        for key in self.names():
            self._client.delete_object(Bucket=BUCKET, Key=key)
        for upload in self._client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            self._client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
        self.requests.clear()

    def put(self, key: str, body: bytes | str | pa.Table) -> None:
        if isinstance(body, pa.Table):
            sink = io.BytesIO()
            pq.write_table(body, sink)
            body = sink.getvalue()
        self._client.put_object(Bucket=BUCKET, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        return self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def table(self, key: str) -> pa.Table:
        return pq.read_table(io.BytesIO(self.get(key)))

    def names(self) -> list[str]:
        return [o["Key"] for o in self._client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def unfinished(self) -> int:
        """Multipart uploads that were begun, and neither completed nor aborted."""
        return len(self._client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))
