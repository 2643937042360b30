#!/bin/sh
# Answers in JSON that the server cut off, not streamed, in langchain-core 1.8.3 with langchain-openai 1.7.4.
#
# Guess: half a JSON text is no JSON, so a parser raises. Its own words for `JsonOutputParser` are that it gives "the
#        full JSON object" unless `partial` is asked for, which it is not by default, and an exception "if the output is
#        not valid JSON".
# Seen:  it closes what was open, and hands that out: a price of 1299.00 that was cut is 12, a warning "Do not use" is
#        "Do", three rows of five are a list of three, the last of them half. `PydanticOutputParser` makes an object of
#        the model's own type of it, as long as the fields that are required had begun. `finish_reason` is not looked
#        at. With `with_structured_output` a `length` raises, and `abort`, as vLLM 0.32.0 says when it is stopped, does
#        not: `json_mode`, and a schema that is given as a dict, hand out the half as if it were whole. By
#        `function_calling` a cut call is None, no error.
# So:    look at `response_metadata["finish_reason"]` of the message before it is parsed; or parse by
#        `json.loads(message.text)` and `Model.model_validate_json`, which refuse half a text.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet langchain-core==1.8.3 langchain-openai==1.7.4 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON' 2>messages.log
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

WHOLE = json.dumps({"name": "Kettle", "warning": "Do not use", "price": 1299.0})
ROWS = json.dumps([{"row": at, "label": "spam"} for at in range(5)])
CUTS = {
    "price": WHOLE[: WHOLE.index("99.0")],
    "warning": WHOLE[: WHOLE.index(" not use")],
    "rows": ROWS[: ROWS.index("2, ") + len('2, "label": "sp')],
}


class Product(BaseModel):
    name: str
    warning: str
    price: float | None = None


class Server(BaseHTTPRequestHandler):
    """Answers with the cut text that the prompt names; the model's name is the finish_reason."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = CUTS[request["messages"][-1]["content"]]
        message = {"role": "assistant", "content": text}
        if "tools" in request:
            call = {"id": "1", "type": "function", "function": {"name": "Product", "arguments": text}}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": request["model"]}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        answer["usage"] = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def ways(reason):
    """What one asks for the object by, and for the rows."""
    model = ChatOpenAI(model=reason, base_url=f"http://127.0.0.1:{server.server_address[1]}/v1", api_key="none")
    return {
        "JsonOutputParser": model | JsonOutputParser(),
        "PydanticOutputParser": model | PydanticOutputParser(pydantic_object=Product),
        "json_mode": model.with_structured_output(Product, method="json_mode"),
        "json_schema, a model": model.with_structured_output(Product, method="json_schema"),
        "json_schema, a dict": model.with_structured_output(Product.model_json_schema(), method="json_schema"),
        "function_calling": model.with_structured_output(Product, method="function_calling"),
    }


def told(way, prompt):
    """What comes of it: the object, or the name of the exception."""
    try:
        found = way.invoke(prompt)
    except Exception as error:
        return type(error).__name__
    return found.model_dump() if isinstance(found, Product) else found


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("langchain-core", version("langchain-core"), "langchain-openai", version("langchain-openai"))
PRICE = {"name": "Kettle", "warning": "Do not use", "price": 12}
WARNING = {"name": "Kettle", "warning": "Do"}
found = {}
for reason in ("length", "abort"):
    print(f"finish_reason {reason}")
    for name, way in ways(reason).items():
        found[reason, name] = told(way, "price"), told(way, "warning")
        print(f"    {name}:", *found[reason, name])
    rows = told(ways(reason)["JsonOutputParser"], "rows")
    print("    rows of five:", rows)
    assert [row["row"] for row in rows] == [0, 1, 2] and rows[-1]["label"] == "sp", "the list is whole, or refused, now"
    assert found[reason, "JsonOutputParser"] == (PRICE, WARNING), "half a text is refused now"
    assert found[reason, "PydanticOutputParser"] == (PRICE, {**WARNING, "price": None}), "half an object is refused now"
    assert found[reason, "function_calling"] == (None, None), "a call that was cut is an error now"
for name in ("json_mode", "json_schema, a model", "json_schema, a dict"):
    assert set(found["length", name]) == {"LengthFinishReasonError"}
assert found["abort", "json_mode"] == (PRICE, {**WARNING, "price": None}), "json_mode looks at `abort` now"
assert found["abort", "json_schema, a dict"] == (PRICE, WARNING), "json_schema looks at `abort` now"
assert set(found["abort", "json_schema, a model"]) == {"ValidationError"}
PYTHON
