#!/bin/sh
# Rows, and answers as texts, in CrewAI 1.15.30 (one agent without tools, one task; openai 2.54.0):
# `kickoff(inputs=row)` and `kickoff_for_each`.
#
# Guess: an agent that has no tools is a prompt and its answer: what the model writes comes out (`raw`), and a row's
#        text goes in as it is. An answer that was cut is told of. A request that fails is made again twice, as by
#        OpenAI's client; of many rows those that were answered are kept.
# Seen:  what stands before the words "Final Answer:" is thrown away, wherever they stand: of 'He said: "Final Answer:
#        12", and left.' the rest is '12", and left.', of two such lines the last. An answer in which "Action:" and
#        "Action Input:" stand, as in steps of a manual, is taken for a call of a tool, of which there is none: it is
#        asked for five times, and then an error. An answer that was cut (`length`) is one like any other. A row's text
#        that names a column in braces, "Dear {name}", gets that column's value where the task's description names the
#        column behind the text, and keeps its braces where the column comes first. A row that fails (500) is asked for
#        nine times, and in `kickoff_for_each` its error is all that comes out: the answers of the rows before it are lost.
# So:    have answers by a schema (`output_pydantic`), where a cut one raises; call `kickoff` row by row, each in a try, and
#        keep each answer; `max_retry_limit=0` at the agent makes nine three. Of "Final Answer:" it is known: issue 788 of
#        crewAI, closed in 2024 since nobody spoke any more.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile crewai==1.15.30 openai==2.54.0 2>/dev/null
cd "$folder"
HOME=$folder CREWAI_DISABLE_TELEMETRY=true OTEL_SDK_DISABLED=true CREWAI_TRACING_ENABLED=false CREWAI_TESTING=true \
    OPENAI_API_KEY=none venv/bin/python -W ignore - <<'PYTHON'
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

asked = []  # the prompts that came since the last run
answers = {}  # by a word of the prompt: the answer, or a status


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = "\n".join(message["content"] or "" for message in request["messages"])
        asked.append(prompt)
        answer = next((answer for word, answer in answers.items() if word in prompt), "Fine")
        answer, reason = answer if isinstance(answer, tuple) else (answer, "stop")
        status, body = 500, {"error": {"message": "down", "type": "down", "code": None}}
        if answer != 500:
            choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": reason}
            usage = {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
            status = 200
            body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | usage
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_address[1]}/v1"
from crewai import LLM, Agent, Crew, Task  # noqa: E402: the server is to be there

logging.disable(logging.CRITICAL)


def crew(description="Write to {name} of {text}", **more):
    model = LLM(model="gpt-4o-mini", base_url=base, api_key="none")
    agent = Agent(role="writer", goal="to write", backstory="A writer.", llm=model, verbose=False, **more)
    task = Task(description=description, expected_output="a text", agent=agent)
    return Crew(agents=[agent], tasks=[task], verbose=False)


def run(answer, row={"name": "Ann", "text": "apples"}, **settings):
    """What comes out where the model gives `answer`, and how often it was asked."""
    asked.clear()
    answers.clear()
    answers["Write to"] = answer
    try:
        out = crew(**settings).kickoff(inputs=row).raw
    except Exception as error:  # each kind has its own
        out = type(error)
    print(f"an answer {answer!r} is {out!r}; asked {len(asked)} times")
    return out, len(asked)


def prompt(description, **row):
    run("Fine", row, description=description)
    (line,) = (line for line in asked[0].splitlines() if "Write to" in line)
    print("the prompt:", line)
    return line


print("crewai", version("crewai"), "openai", version("openai"))
said = 'He said: "Final Answer: 12", and left.'
assert run("Steps:\n1. Open it.\n2. Read.") == ("Steps:\n1. Open it.\n2. Read.", 1)
assert run(said) == ('12", and left.', 1), "what stands before is kept now"
assert run("Final Answer: 12\n\nSecond row.\nFinal Answer: 13") == ("13", 1), "two are kept now"
out, times = run("Steps:\nAction: Open the door.\nAction Input: none\nThen go.")
assert isinstance(out, type) and times == 5, "steps are a text now"
assert run(("Half of a sen", "length")) == ("Half of a sen", 1), "a cut answer is told of now"
assert run(500)[1] == 9, "a failed row is asked for otherwise now"
assert run(500, max_retry_limit=0)[1] == 3, "max_retry_limit does otherwise now"

letter = "Dear {name}"
assert "of Dear Ann for Ann" in prompt("Write to me of {text} for {name}", text=letter, name="Ann"), "texts are kept now"
assert "Ann of Dear {name}" in prompt("Write to {name} of {text}", text=letter, name="Ann"), "texts are replaced now"

asked.clear()
answers.clear()
answers["pears"] = 500
try:
    out = crew().kickoff_for_each(inputs=[{"name": "Ann", "text": text} for text in ("apples", "pears", "plums")])
except Exception as error:
    out = type(error)
of = [sum(text in prompt for prompt in asked) for text in ("apples", "pears", "plums")]
print(f"three rows, of which the second fails: {out}; asked {of} times")
assert isinstance(out, type) and of == [1, 9, 0], "the answers before it are kept now"
PYTHON
