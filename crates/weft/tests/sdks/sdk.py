"""The SDK of CloudEvents for Python, unchanged.

`exchange HUB` publishes events in each mode to the topic `sdk`, and consumes them: as
they come, of the stream `sdk`, and by its consumer `sdk`. It prints what each is that
was sent, and that came, as JSON. `read` takes messages from its input (`[{headers,
body}]`, bodies in base64) and prints what the SDK reads in them.
"""

import base64
import itertools
import json
import sys
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent

TIME = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)
DATA = [
    ("application/json", {"delay": 12, "z": [1.5, None, "\u00fc"], "a": {}}),
    ("text/plain", "late \u20ac"),
    ("application/octet-stream", b"\x00\xff\x7f"),
]


def normal(event):
    names = ["id", "source", "type", "subject", "datacontenttype", "comexampleother", "partitionkey"]
    data = event.get_data()
    if isinstance(data, bytes):
        data = {"base64": base64.b64encode(data).decode()}
    attributes = {name: event.get_attributes().get(name) for name in names}
    return {**attributes, "time": event.get_attributes()["time"].isoformat(), "data": data}


def post(url, message):
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    request = urllib.request.Request(url, data=body, headers=dict(message.headers), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200, answer.status
        return json.load(answer)


def publish(url):
    sent = []
    for number, (media, data) in enumerate(DATA):
        for mode in (http.to_structured_event, http.to_binary_event):
            attributes = {
                "id": f"{mode.__name__}-{number}",
                "source": "/sdk/python?a=b#c",
                "type": "com.example.departed",
                "subject": "Z\u00fcrich \"100 %\"",
                "time": TIME,
                "datacontenttype": media,
                "comexampleother": "value",
                "partitionkey": "B6725",
            }
            event = CloudEvent(attributes, data)
            post(url, mode(event))
            sent.append(normal(event))
    return sent


def listen(url):
    """The data of server-sent events, one by one."""
    request = urllib.request.Request(url, headers={"Accept": "text/event-stream"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        for line in answer:
            kind, _, data = line.rstrip(b"\n").partition(b": ")
            if kind == b"retry":
                yield None
            if kind == b"data":
                yield data


def take(events, count):
    """What the SDK reads in the next ones."""
    structured = {"content-type": "application/cloudevents+json"}
    bodies = itertools.islice((data for data in events if data), count)
    return [http.from_http_event(http.HTTPMessage(headers=structured, body=body)) for body in bodies]


def exchange(hub):
    live = listen(f"{hub}/v1/topics/sdk?format=cloudevents")
    # From here on it hears what is published.
    assert next(live) is None
    sent = publish(f"{hub}/v1/topics/sdk")
    stream = listen(f"{hub}/v1/streams/sdk/events?from=first&format=cloudevents")
    base = f"{hub}/v1/streams/sdk/consumers/sdk"
    polled = []
    while len(polled) < len(sent):
        batch = "application/cloudevents-batch+json"
        request = urllib.request.Request(f"{base}/messages?wait=5s", headers={"Accept": batch})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.headers["content-type"] == batch, answer.headers
            polled += take((json.dumps(event).encode() for event in json.load(answer)), len(sent))
    receipts = [event.get_attributes()["weftreceipt"] for event in polled]
    request = urllib.request.Request(f"{base}/settle", data=json.dumps({"ack": receipts}).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        settled = json.load(answer)
    came = {"live": take(live, len(sent)), "stream": take(stream, len(sent)), "polled": polled}
    came = {name: [normal(event) for event in events] for name, events in came.items()}
    return {"sent": sent, "settled": settled, **came}


def read(messages):
    found = []
    for message in messages:
        body = base64.b64decode(message["body"])
        found.append(normal(http.from_http_event(http.HTTPMessage(headers=message["headers"], body=body))))
    return found


result = exchange(sys.argv[2]) if sys.argv[1] == "exchange" else read(json.load(sys.stdin))
json.dump(result, sys.stdout)
