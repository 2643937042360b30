#!/bin/sh
# Streamed lists and objects that the server cut off, in instructor 1.17.0 with OpenAI's client.
#
# Guess: an answer that `max_tokens` cut is an IncompleteOutputException, as `create` makes it one, and what does not
#        fit the model is asked again. Its documentation of `create_partial`: the last value that is yielded "represents
#        the completed extraction".
# Seen:  streamed, neither is true. `create_iterable` yields the objects that were complete and ends: three rows of
#        five, and nothing says that there were to be more. The last value of `create_partial` is whatever could be
#        read: a price of 1299 that was cut is 12, a warning "Do not use" is "Do", a required field is None, all of it
#        in an object of the model's own type, which itself refuses None. No exception, no second try. So it is with
#        finish_reason `length`, with `abort`, as vLLM 0.32.0 says when it is stopped, and with a stream that just ends.
# So:    where a list or an object has to be whole, use `create(response_model=list[Row])`; with a stream compare the
#        number of objects with one that was asked for, and hold the last object against the model once more: that finds
#        a field that is missing, not one that was cut.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'instructor==1.17.0' 2>/dev/null
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import instructor
from instructor.core.exceptions import IncompleteOutputException, InstructorRetryException
from openai import OpenAI
from pydantic import BaseModel, ValidationError

said = {}  # the text that the server writes, its finish_reason, and how often it was asked


class Row(BaseModel):
    name: str
    price: int


class Advice(BaseModel):
    price: int
    text: str
    source: str


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said["asked"] += 1
        self.tool = request["tools"][0]["function"]["name"] if "tools" in request else None
        (self.stream if request.get("stream") else self.whole)()

    def part(self, text, name):
        """A piece of the answer: as the arguments of a tool, or as content, as the request wanted it."""
        if self.tool is None:
            return {"content": text}
        call = {"index": 0, "id": "1", "type": "function", "function": {"name": name, "arguments": text}}
        return {"content": None, "tool_calls": [call]}

    def answer(self, kind, **choice):
        return {"id": "1", "object": kind, "created": 1, "model": "m", "choices": [{"index": 0, **choice}]}

    def whole(self):
        message = {"role": "assistant", **self.part(said["text"], self.tool)}
        body = json.dumps(self.answer("chat.completion", message=message, finish_reason=said["reason"])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        text = said["text"]
        for at in range(0, len(text), 5):
            self.event(delta=self.part(text[at : at + 5], None if at else self.tool), finish_reason=None)
        if said["reason"] is not None:
            self.event(delta={}, finish_reason=said["reason"])
            self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, **choice):
        self.chunk(b"data: " + json.dumps(self.answer("chat.completion.chunk", **choice)).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *_):
        pass


def ask(call, text, reason, model):
    """What a client gets of a text that ends for that reason, and how often the server was asked for it."""
    said.update(text=text, reason=reason, asked=0)
    try:
        return call(model="m", messages=[{"role": "user", "content": "Hi"}], response_model=model), said["asked"]
    except (IncompleteOutputException, InstructorRetryException) as error:
        return type(error).__name__, said["asked"]


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
openai = OpenAI(base_url=f"http://127.0.0.1:{server.server_address[1]}/v1", api_key="none", max_retries=0)
rows = [{"name": f"lamp {at}", "price": 1299} for at in range(1, 6)]
LIST = json.dumps({"tasks": rows})
LIST = LIST[: LIST.index("lamp 4") + 3]
ADVICE = '{"price": 1299, "text": "Do not use near water.", "source": "manual"}'
CUTS = {"price": ADVICE[:12], "text": ADVICE[:27]}
print("instructor", version("instructor"), "openai", version("openai"))
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON):
    client = instructor.from_openai(openai, mode=mode)

    def iterable(**fields):
        return [row.name for row in client.create_iterable(**fields)]

    def partial(**fields):
        return list(client.create_partial(**fields))[-1]

    for reason in ("length", "abort", None):
        print(f"{mode}, finish_reason {reason}:")
        listed, asked = ask(iterable, LIST, reason, Row)
        print(f"    create_iterable, five rows cut in the fourth: {listed}, asked {asked} times")
        assert (listed, asked) == (["lamp 1", "lamp 2", "lamp 3"], 1), "a list that was cut is told now"
        for name, text in CUTS.items():
            last, asked = ask(partial, text, reason, Advice)
            print(f"    create_partial, cut in {name}: {last!r}, asked {asked} times")
            expected = (12, None, None) if name == "price" else (1299, "Do", None)
            assert isinstance(last, Advice) and asked == 1, "an object that was cut is told now"
            assert (last.price, last.text, last.source) == expected
        try:
            Advice.model_validate(last.model_dump())
            raise AssertionError("the model takes None")
        except ValidationError:
            pass
    whole, asked = ask(client.create, LIST, "length", list[Row])
    print(f"    create, whole, length: {whole}, asked {asked} times")
    assert whole == "IncompleteOutputException", "a whole answer that was cut is taken now"
    whole, asked = ask(client.create, LIST, "abort", list[Row])
    print(f"    create, whole, abort: {whole}, asked {asked} times")
    assert whole == "InstructorRetryException" and asked > 1, "a whole answer that was broken off is taken now"
PYTHON
